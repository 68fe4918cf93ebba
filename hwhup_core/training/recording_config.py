"""What an adaptation to a recording can be told, and the stages that follow from it; the defaults live here only."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from hwhup_core.body.keypoint_sets import keypoint_set
from hwhup_core.errors import ConfigError
from hwhup_core.geometry.proxies import ProxyConfig
from hwhup_core.networks.packing import INPUTS, Modality
from hwhup_core.training.adapt import AdaptConfig
from hwhup_core.training.loop import LoopConfig
from hwhup_core.training.observe import ObservationConfig
from hwhup_core.training.recording_pools import JOINTS
from hwhup_core.training.stages import DP_VIS, FULL, StageConfig, for_joint_set, with_true_camera
from hwhup_core.training.transforms import BoxAugmentConfig, LookConfig

InputName = Literal['rgb', 'ir', 'depth']
MODALITY: dict[str, tuple[Modality, ...]] = {
    'rgb': INPUTS['rgb'], 'ir': INPUTS['infrared'], 'depth': INPUTS['depth'],
}  # fmt: skip
STARTS = {'rgb': 'crib_rgb_source', 'ir': 'crib_rgb_source', 'depth': 'crib_depth'}
"""Bundled weights to start from; infrared is shown to colour weights as a grey picture."""
PEAKS = {'rgb': 1e-3, 'ir': 1e-3, 'depth': 2e-4}
"""Learning rates; the depth weights already fit cribs well, so that they move less."""
EPOCHS, STAGE_TWO_SHARE = 12, 7 / 12
STEPS = 480
"""Least steps of a whole adaptation; a short recording is gone through several times an epoch."""
PROXY_FACTOR, BETAS_FACTOR = 7.5, 30.0
"""Times the released weights, as colour weights were adapted to the synthetic crib."""
INFANT_BELOW = 1.1
"""Metres; a shorter body has half the flesh of an adult over its joints."""
MOST_TRAINING = 2000
"""Frames that are kept in memory (0.25 MB each); of more, as many are taken, evenly over time."""
MOST_SCORED = 400
"""Held-out frames that are scored, evenly over time."""


@dataclass(frozen=True)
class RecordingAdaptConfig:
    """What `hwhup adapt RECORDING` is asked for."""

    recording: Path
    out: Path
    """Folder of the run; a stopped run there goes on."""
    input: InputName = 'rgb'
    """What the weights read when they run; depth supervises in any case."""
    weights: str | None = None
    """Where to start: bundled weights or a file; None: the bundled ones for the input."""
    body: str = 'infant'
    device: Literal['auto', 'cpu', 'cuda'] = 'auto'
    hours: float | None = None
    """Longest time of the training, from which the epochs follow; None: no limit."""
    epochs: int | None = None
    """None: 12, or as many as fit into `hours`."""
    curve: bool = False
    """Whether to train on a quarter and on half of the labelled frames, too."""
    seed: int = 0
    gap_s: float = 2.0
    """Seconds between frames of different parts, at least."""
    batch_size: int = 32

    def __post_init__(self) -> None:
        if self.hours is not None and self.epochs is not None:
            raise ConfigError('hours and epochs both say how long to train. Give one of them.')
        if self.hours is not None and not self.hours > 0:
            raise ConfigError(f'hours is {self.hours}. Expected above 0.')
        if self.epochs is not None and self.epochs < 1:
            raise ConfigError(f'epochs is {self.epochs}. Expected at least 1.')
        if self.batch_size < 2 or self.seed < 0:
            raise ConfigError('batch_size must be at least 2, seed at least 0.')

    def start(self) -> str:
        """Return the weights to start from."""
        if self.weights is None and self.body != 'infant':
            raise ConfigError(
                f'There are no bundled weights for the body {self.body!r}. Name weights for it with --weights.'
            )
        return self.weights or STARTS[self.input]


def observation_of(stature: float, distance: float) -> ObservationConfig:
    """Return how weak labels are taken of a body of this stature (m) that lies so far away (m)."""
    config = ObservationConfig(picture=192, margin=2.2)
    far = max(config.proxy.far, 1.25 * distance)
    cleaning = replace(config.cleaning, far=max(config.cleaning.far, 1.5 * distance))
    return replace(config, cleaning=cleaning, proxy=ProxyConfig(flesh=0.5 if stature < INFANT_BELOW else 1.0, far=far))


def stage_of(epochs: int, observation: ObservationConfig) -> StageConfig:
    """Return the paper's full method before the real camera, Stage II late; without one where it would have no time."""
    second = math.ceil(STAGE_TWO_SHARE * epochs)
    method = FULL if second < epochs else DP_VIS
    weights = replace(
        method.weights,
        proxies=method.weights.proxies * PROXY_FACTOR,
        betas=method.weights.betas * BETAS_FACTOR,
    )
    stage = replace(
        method,
        epochs=epochs,
        stage_two_epoch=second,
        weights=weights,
        cleaning=observation.cleaning,
        proxy=observation.proxy,
    )
    return for_joint_set(with_true_camera(stage), len(keypoint_set(JOINTS).joints))


def adapt_config(config: RecordingAdaptConfig, stage: StageConfig, frames: int) -> AdaptConfig:
    """Return how the network descends on so many frames."""
    return AdaptConfig(
        stage=stage,
        loop=LoopConfig(epochs=stage.epochs, learning_rate=PEAKS[config.input], gradient_every=4, seed=config.seed),
        batch_size=min(config.batch_size, max(2, frames // 2)),
        augment=BoxAugmentConfig(gain=0.4),
        bfloat16=True,
    )


def passes_of(frames: int, batch_size: int) -> int:
    """Return how often an epoch goes through the frames."""
    return max(1, math.ceil(STEPS / EPOCHS / max(1, frames // batch_size)))


LOOKS = LookConfig()
"""The crops that the network learns from are those that the engine makes."""
