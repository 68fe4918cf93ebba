"""The licence-free crib: lying poses, scene, sensor noise, training crops and a live stream, all with exact truth."""
