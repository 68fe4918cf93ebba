"""The card that lies beside every weights file: what the weights are, what they were made from, how good they are."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hwhup_core import __version__
from hwhup_core.errors import ConfigError
from hwhup_core.networks.compact import CompactConfig
from hwhup_core.networks.packing import InputConfig
from hwhup_core.networks.spin import SpinRegressor

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Measurement:
    """A measured number with its uncertainty."""

    value: float
    low: float
    high: float
    """Ends of the 95 % interval, same unit as `value`."""
    count: int
    """Independent samples that were measured."""


@dataclass(frozen=True)
class ModelCard:
    """Everything a user must know about a weights file; stored as JSON."""

    architecture: Literal['compact', 'spin']
    input: InputConfig
    """What the network reads."""
    body_id: str
    body_hash: str
    """The body whose pose and shape numbers the weights speak; another one is refused."""
    licence: str
    """Licence of the weights, an SPDX name where there is one."""
    network: CompactConfig | None = None
    """Shape of the network; None for `spin`, which has only one."""
    weights_hash: str = ''
    """SHA-256 over names, types, shapes and bytes of the tensors; filled when saved."""
    training_data: str = ''
    """What the weights were trained on, in words."""
    training_command: str = ''
    """The command that trains them again."""
    training_config: dict[str, Any] = field(default_factory=dict)
    """The whole training configuration as `config_io.to_plain` gives it."""
    seed: int = 0
    commit: str = ''
    """Commit of the code that trained."""
    metrics: dict[str, Measurement] = field(default_factory=dict)
    """Held-out results; trained weights carry at least `joint_error_mm` and `mean_pose_joint_error_mm`."""
    calibration: dict[str, Any] = field(default_factory=dict)
    """`sigma_floor_m` and `sigma_gain`, a number or one a joint: see `inference.uncertainty`; empty = none."""
    hwhup_version: str = __version__
    """Version of the package that saved the file."""
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        if (self.architecture == 'compact') != (self.network is not None):
            raise ConfigError(
                f'architecture is {self.architecture!r} and network is {self.network}. '
                'Give the network its shape for compact, and none for spin.'
            )
        expected = SpinRegressor.input_size if self.network is None else self.network.input_size
        if self.input.size != expected:
            raise ConfigError(f'input.size is {self.input.size}, but the network reads {expected} px. Make them equal.')


def running_commit() -> str:
    """Return the commit of the code that runs, marked when the tree differs from it; empty outside a checkout."""
    try:
        described = subprocess.run(
            ['git', 'describe', '--always', '--dirty', '--abbrev=12'],
            cwd=Path(__file__).parent, capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return ''
    return described.stdout.strip()
