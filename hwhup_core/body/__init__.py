"""Bodies in SMPL layout: files, model, joint names, mirroring. `anny.py` and its two helpers are for developers only."""
