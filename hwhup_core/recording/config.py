"""What a recorder can be told. The recorder node declares its parameters from these dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from hwhup_core.errors import ConfigError

Privacy = Literal['full', 'head_blurred', 'no_color']
PRIVACY: tuple[Privacy, ...] = ('full', 'head_blurred', 'no_color')


@dataclass(frozen=True)
class GateConfig:
    """A frame that fails a gate teaches nothing, or something wrong."""

    max_skew_s: float = field(default=0.02, metadata={'range': (0.0, 10.0)})
    """Largest difference between the stamps of colour and depth, seconds."""
    least_depth: float = field(default=0.5, metadata={'range': (0.0, 1.0)})
    """Share of the person's box (without an estimate: of the image) in which depth must be measured."""
    max_holes: float = field(default=0.7, metadata={'range': (0.0, 1.0)})
    """Share of the whole depth image that may be without measurement (holes, NaN)."""
    least_sharpness: float = field(default=6.0, metadata={'range': (0.0, 1e6)})
    """Variance of the Laplacian of the grey image (0..255) at 320 pixels width; a moved camera blurs it away."""
    exposure: tuple[float, float] = (20.0, 235.0)
    """Darkest and brightest mean grey value, 0..255."""

    def __post_init__(self) -> None:
        _check_ranges(self)
        if not 0 <= self.exposure[0] < self.exposure[1] <= 255:
            raise ConfigError(f'exposure is {self.exposure}. Expected a darkest and a brighter mean grey in 0 to 255.')


@dataclass(frozen=True)
class NoveltyConfig:
    """A bed is the same for hours: what is kept."""

    enabled: bool = True
    """False keeps every good frame."""
    min_interval_s: float = field(default=0.5, metadata={'range': (0.0, 86400.0)})
    """Nothing is kept sooner after a kept frame, seconds."""
    max_interval_s: float = field(default=60.0, metadata={'range': (0.0, 1e6)})
    """After this long a frame is kept whatever it shows, seconds; 0: never for that alone."""
    change: float = field(default=0.03, metadata={'range': (0.0, 1.0)})
    """Share of the picture that must differ from every one of the last kept frames."""
    remembered: int = field(default=200, metadata={'range': (1, 10000)})
    """How many kept frames a new one is compared with."""
    joint_motion: float = field(default=0.05, metadata={'range': (0.0, 10.0)})
    """A joint that moved by more than this since the last kept frame makes a frame new, metres; 0: never."""
    posture_quota: int = field(default=0, metadata={'range': (0, 1000000)})
    """Frames kept of each posture at most; 0: no limit."""
    keep_error_above: float = field(default=0.06, metadata={'range': (0.0, 10.0)})
    """
    A frame on which the estimate's aligned depth error is larger has something to teach: no quota holds it back, and a
    third of `change` makes it new. Metres; 0: the error does not matter.
    """

    def __post_init__(self) -> None:
        _check_ranges(self)
        if self.max_interval_s and self.max_interval_s < self.min_interval_s:
            raise ConfigError(
                f'max_interval_s {self.max_interval_s} is below min_interval_s {self.min_interval_s}. Swap them.'
            )


@dataclass(frozen=True)
class StorageConfig:
    """Where a recording ends."""

    writers: int = field(default=2, metadata={'range': (1, 16)})
    """Threads that encode and write."""
    queue: int = field(default=30, metadata={'range': (1, 1000)})
    """Frames that may wait for a writer; one more is dropped and counted."""
    least_free_mb: float = field(default=1000.0, metadata={'range': (0.0, 1e9)})
    """What must stay free on the disk, megabytes (1e6 bytes): before that the recording ends."""
    quota_mb: float = field(default=0.0, metadata={'range': (0.0, 1e9)})
    """Size at which this recording ends, megabytes; 0: no limit."""
    quota_frames: int = field(default=0, metadata={'range': (0, 100000000)})
    """Frames at which this recording ends; 0: no limit."""
    sync_every: int = field(default=10, metadata={'range': (1, 10000)})
    """Frames between two forced writes to the disk; a power cut costs at most so many, a killed program only one."""

    def __post_init__(self) -> None:
        _check_ranges(self)


@dataclass(frozen=True)
class RecorderConfig:
    """How a recording is made."""

    privacy: Privacy = field(default='head_blurred', metadata={'choices': PRIVACY})
    """What is stored of colour: all, all with the head made unrecognisable, or nothing."""
    gates: GateConfig = field(default_factory=GateConfig)
    novelty: NoveltyConfig = field(default_factory=NoveltyConfig)
    storage: StorageConfig = field(default_factory=StorageConfig)

    def __post_init__(self) -> None:
        if self.privacy not in PRIVACY:
            raise ConfigError(f'privacy is {self.privacy!r}. Expected one of {", ".join(PRIVACY)}.')


def _check_ranges(config: Any) -> None:
    for each in fields(config):
        allowed: Mapping[str, Any] = each.metadata
        value = getattr(config, each.name)
        if 'range' in allowed and not allowed['range'][0] <= value <= allowed['range'][1]:
            raise ConfigError(f'{each.name} is {value}. Expected {allowed["range"][0]} to {allowed["range"][1]}.')
