"""Parameters of the recorder node; those of the recording itself are in `hwhup_core.recording.config`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from hwhup_core import __version__
from hwhup_core.data.recording_card import RecordingCard
from hwhup_core.errors import ConfigError
from hwhup_core.recording.config import RecorderConfig
from hwhup_core.types import Frame
from hwhup_ros.synchronizer import SyncConfig

COVERS = ('unknown', 'uncover', 'cover1', 'cover2', 'mixed')


@dataclass(frozen=True)
class RecorderNodeConfig(RecorderConfig):
    """Parameters of the recorder node."""

    autostart: bool = True
    """Configure and activate at start; otherwise wait for a lifecycle manager."""
    folder: str = ''
    """Where the recording lies: a new or empty folder, or with `resume` that of a recording."""
    resume: bool = False
    """Go on with the recording in `folder`, if there is one; another camera, resolution or encoding is refused."""
    camera: str = 'camera'
    """Name of the camera for the card, such as its model and serial number."""
    operator: str = ''
    """Who records, for the card."""
    consent: str = ''
    """Who agreed to be recorded, and to what, for the card."""
    cover: str = field(default='unknown', metadata={'choices': COVERS})
    """What lies over the person, for the card."""
    retention_days: float = field(default=0.0, metadata={'range': (0.0, 36500.0)})
    """After how many days `hwhup recording purge` deletes the recording; 0: never."""
    up: tuple[float, float, float] | None = None
    """Direction against gravity in the camera frame, for the card; empty: unknown."""
    bed_plane: tuple[float, float, float, float] | None = None
    """a, b, c, d of a x + b y + c z + d = 0 in the camera frame, metres, for the card; empty: unknown."""
    use_image: bool = True
    """Record colour; with privacy `no_color` the image is not even received."""
    use_depth: bool = True
    """Record depth; with `use_image` both are needed for a frame."""
    image_transport: str = field(default='raw', metadata={'choices': ('raw', 'compressed')})
    """`raw` reads `image` and `depth`; `compressed` reads `image/compressed` and `depth/compressedDepth`."""
    image_backend: str = field(default='own', metadata={'choices': ('own', 'cv_bridge')})
    """What decodes raw images: our own converter, or cv_bridge where it is installed and works."""
    image_reliability: str = field(default='best_effort', metadata={'choices': ('best_effort', 'reliable')})
    """Reliability asked of the camera: `best_effort` matches every publisher, `reliable` loses nothing on the way."""
    color_encoding: str = field(default='jpeg', metadata={'choices': ('jpeg', 'png')})
    """How colour is stored; png loses nothing, and takes ten times the room."""
    jpeg_quality: int = field(default=95, metadata={'range': (1, 100)})
    """Of stored colour."""
    estimate_wait: float = field(default=0.3, metadata={'range': (0.0, 60.0)})
    """
    Seconds a frame waits for the pose node's answer to it, on `smpl_poses`; 0: frames are judged alone. While nobody
    publishes answers, no frame waits. With privacy `head_blurred` a frame without a sure head loses its colour.
    """
    silent_after: float = field(default=2.0, metadata={'range': (0.1, 3600.0)})
    """Without a frame for this long, seconds, diagnostics say ERROR."""
    sync: SyncConfig = field(default_factory=SyncConfig)
    """How images are paired."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.color_is_used or self.use_depth):
            raise ConfigError(
                f'Nothing is recorded: use_image is {self.use_image} with privacy {self.privacy}, use_depth is '
                f'{self.use_depth}. Set use_depth, or use_image with another privacy.'
            )
        for name, length in (('up', 3), ('bed_plane', 4)):
            value = getattr(self, name)
            if value is not None and len(value) != length:
                raise ConfigError(f'{name} is {value}. Expected {length} numbers, or none.')

    @property
    def color_is_used(self) -> bool:
        """Return whether the image is received."""
        return self.use_image and self.privacy != 'no_color'

    def path(self) -> Path:
        """Return the folder of the recording; ConfigError where none was given."""
        if not self.folder:
            raise ConfigError('Parameter `folder` is empty. Expected the folder of the recording, new or empty.')
        return Path(self.folder).expanduser().resolve()


def card_of(config: RecorderNodeConfig, first: Frame, model_hash: str) -> RecordingCard:
    """Return the card of a recording that begins with this frame; `model_hash` is of the weights that answered it."""
    return RecordingCard(
        camera=config.camera,
        frame_id=first.frame_id,
        intrinsics=first.intrinsics,
        color=config.color_encoding if config.color_is_used else 'none',  # type: ignore[arg-type]
        depth='png' if config.use_depth else 'none',
        jpeg_quality=config.jpeg_quality,
        up=config.up,
        bed_plane=config.bed_plane,
        cover=config.cover,
        operator=config.operator,
        consent=config.consent,
        privacy=config.privacy,
        retention_days=config.retention_days or None,
        software=f'hwhup {__version__}',
        model_hash=model_hash,
    )
