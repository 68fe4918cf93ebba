"""What the inference engine can be told. The ROS node declares its parameters from this dataclass."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from hwhup_core.errors import ConfigError

DEVICES = ('cpu', 'cuda', 'auto')


@dataclass(frozen=True)
class EngineConfig:
    """Settings of one engine. The defaults live here only."""

    weights: str = 'crib_depth'
    """Network weights: the name of bundled weights, or the path of a .safetensors file with its JSON card."""
    body: str = 'infant'
    """Body model: `infant`, `adult`, or the path of an SMPL or SMIL file. Must be the body of the weights."""
    device: str = field(default='cpu', metadata={'choices': DEVICES})
    """Where the network runs: `cpu`, `cuda`, or `auto` (cuda where there is one)."""
    threads: int = field(default=1, metadata={'range': (1, 64)})
    """CPU threads of the network, 1 to 64; holds for the whole process. More help only on idle cores: threads wait
    for each other, and a busy neighbour that holds up one of them holds up all."""
    region: tuple[float, float, float] | None = None
    """Where a person is looked for at first: left edge, top edge and side of a square, pixels. None: the largest
    centred square of the image."""
    box_margin: float = field(default=1.35, metadata={'range': (1.0, 3.0)})
    """Side of the person box as a multiple of the larger extent of the joints in the image, 1 to 3. Keep the value that
    the weights were trained with."""
    refine_first: int = field(default=2, metadata={'range': (0, 5)})
    """How often the person box is made anew on a frame without a previous estimate, 0 to 5. Each costs four network
    runs, one for each heading that is tried."""
    flip_test: bool = True
    """Average the estimate with that of the mirrored image. Their disagreement drives the uncertainty; without it the
    uncertainty is unknown (NaN)."""
    up_in_camera: tuple[float, float, float] | None = None
    """Direction opposite to gravity in the camera's optical frame (x right, y down, z forward), any length. A camera
    that looks straight down has (0, 0, -1). Needed for the posture; None: the posture is unknown."""
    max_aligned_depth_error_m: float = field(default=0.06, metadata={'range': (0.0, 10.0)})
    """Self-check: an estimate whose aligned depth error is larger is of low confidence, metres. Choose it well above
    the mean on the card of the weights, which for those that are bundled is 0.035."""
    min_confidence: float = field(default=0.2, metadata={'range': (0.0, 1.0)})
    """An estimate with a smaller confidence is of low confidence. Expected share of joints within 0.1 m, 0 to 1."""
    visnet: str = 'auto'
    """What tells which joints are seen: `auto` (the bundled VisNet for depth or colour, whichever the weights read),
    `off` (measured depth alone), or a VisNet file with its card."""
    max_people: int = field(default=1, metadata={'range': (1, 16)})
    """The most estimates a frame gives. Without given boxes the engine follows one person."""
    subject_id: str = 'subject'
    """Name of the person followed; starts with a letter. Further people get a number after it."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        for one in fields(self):
            _check_allowed(one.name, getattr(self, one.name), one.metadata)
        if not self.subject_id[:1].isalpha():
            raise ConfigError(f'subject_id is {self.subject_id!r}. Expected a name that starts with a letter.')
        _check_triple('region', self.region)
        _check_triple('up_in_camera', self.up_in_camera)
        if self.region is not None and self.region[2] <= 0:
            raise ConfigError(f'region has side {self.region[2]} px. Expected left, top, side with side above 0.')
        if self.up_in_camera is not None and math.hypot(*self.up_in_camera) < 1e-6:
            raise ConfigError('up_in_camera is the zero vector. Give a direction, such as 0, 0, -1, or leave it out.')


def _check_allowed(name: str, value: Any, allowed: Mapping[str, Any]) -> None:
    if 'range' in allowed:
        low, high = allowed['range']
        if not low <= value <= high:
            raise ConfigError(f'{name} is {value}. Expected {low} to {high}.')
    if 'choices' in allowed and value not in allowed['choices']:
        raise ConfigError(f'{name} is {value!r}. Expected one of {", ".join(allowed["choices"])}.')


def _check_triple(name: str, value: tuple[float, float, float] | None) -> None:
    if value is not None and (len(value) != 3 or not all(math.isfinite(number) for number in value)):
        raise ConfigError(f'{name} is {value}. Expected three finite numbers, or nothing.')
