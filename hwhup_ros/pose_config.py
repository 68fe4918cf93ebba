"""Parameters of the pose node; the defaults live here only."""

from __future__ import annotations

from dataclasses import dataclass, field

from hwhup_core.inference.config import EngineConfig
from hwhup_core.inference.drift import DriftConfig
from hwhup_ros.synchronizer import SyncConfig


@dataclass(frozen=True)
class PoseConfig:
    """Parameters of the pose node."""

    autostart: bool = True
    """Configure and activate at start; otherwise wait for a lifecycle manager."""
    image_transport: str = field(default='raw', metadata={'choices': ('raw', 'compressed')})
    """`raw` reads `image` and `depth`; `compressed` reads `image/compressed` and `depth/compressedDepth`."""
    image_backend: str = field(default='own', metadata={'choices': ('own', 'cv_bridge')})
    """What decodes raw images: our own converter, or cv_bridge where it is installed and works."""
    image_reliability: str = field(default='best_effort', metadata={'choices': ('best_effort', 'reliable')})
    """Reliability asked of the camera; `best_effort` matches every publisher."""
    use_image: bool = True
    """Take the image along where it comes, though the weights need depth only: it colours the point cloud."""
    use_depth: bool = True
    """Take depth along where it comes, though the weights need the image only: for distance and self-check."""
    stale_after: float = field(default=1.0, metadata={'range': (0.1, 60.0)})
    """Without an answer for this long, seconds, the last estimate is repeated as stale and diagnostics say ERROR."""
    points_stride: int = field(default=2, metadata={'range': (0, 16)})
    """Every n-th pixel goes into the point cloud, which is made only while somebody subscribes; 0: never."""
    points_backend: str = field(default='own', metadata={'choices': ('own', 'sensor_msgs_py')})
    """What packs the point cloud: our own few lines, or sensor_msgs_py where it is installed."""
    sync: SyncConfig = field(default_factory=SyncConfig)
    """How images are paired."""
    drift: DriftConfig = field(default_factory=DriftConfig)
    """When the error against the depth says that the room has changed."""
    engine: EngineConfig = field(default_factory=EngineConfig)
    """The estimator."""
