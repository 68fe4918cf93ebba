"""
Where all tables on official files start from: SPIN's weights, SMPL or SMIL and SMPLify's prior; and how it is adapted.

Networks are SPIN's ResNet-50 behind its far camera, as in the paper. Whoever trains is handed weak labels alone.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hwhup_core.assets import ASSET_KINDS, find_asset, require_asset
from hwhup_core.body.keypoint_sets import set_of_joints
from hwhup_core.body.model import BodyModel, load_body
from hwhup_core.body.priors import MixturePrior, load_gmm_08
from hwhup_core.errors import ConfigError
from hwhup_core.networks.checkpoint import load_spin_checkpoint
from hwhup_core.networks.infant_camera import rectify_infant_camera
from hwhup_core.networks.packing import InputConfig, Modality
from hwhup_core.networks.spin import SpinRegressor
from hwhup_core.settings import SETTINGS, setting
from hwhup_core.training.adapt import AdaptConfig, adapt, fit_once, teachers_of
from hwhup_core.training.loop import LoopConfig
from hwhup_core.training.observe import ObservationConfig, observation_for
from hwhup_core.training.pools import WeakPool
from hwhup_core.training.slp_pools import dataset_name
from hwhup_core.training.stages import TABLE_ONE, StageConfig, for_joint_set
from hwhup_core.types import Prediction

OFFICIAL = 'official'
RELEASED = 'released'
"""Column of HW-HuP's own weights, where the assets folder has them: scored, not trained."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OfficialConfig:
    """How networks are adapted on official files."""

    size: str = 'full'
    """Name of the results; `full` is the paper's schedule."""
    epochs_share: float = 1.0
    """Share of the paper's epochs that is run, at least one in each stage."""
    batch_size: int = 64
    seed: int = 0
    workers: int = 1
    """Processes that read SLP."""
    split: str = 'published'
    """Of SLP: `published` (1 to 90, 91 to 102) or `bodymap` (1 to 80, 81 to 102)."""
    columns: tuple[str, ...] = tuple(TABLE_ONE)
    """Of Table 1."""
    observation: ObservationConfig = field(default_factory=lambda: ObservationConfig(picture=373))
    """A crop of 224 px out of a picture that is wide enough to be turned: 0.8 MB a frame in memory."""

    def __post_init__(self) -> None:
        if not 0 < self.epochs_share <= 1 or self.batch_size < 1 or self.workers < 1:
            raise ConfigError('epochs_share must be in (0, 1], batch_size and workers at least 1.')
        if self.split not in ('published', 'bodymap') or not set(self.columns) <= set(TABLE_ONE):
            raise ConfigError(f'split is {self.split!r}, columns {self.columns}. See `OfficialConfig`.')

    @property
    def suffix(self) -> str:
        """Return the end of the results' name."""
        return f'{OFFICIAL}-{self.size}' + ('' if self.split == 'published' else f'-{self.split}')


SIZES = {'small': OfficialConfig(size='small', epochs_share=0.1), 'full': OfficialConfig()}


def missing(data: Sequence[str], assets: Sequence[str]) -> list[str]:
    """Return a line for each needed folder and file that is not there: what it is, and how to add it."""
    lines = [
        f'{key} ({SETTINGS[key]}): hwhup config set {key} DIR' for key in data if setting(key) is None
    ]  # fmt: skip
    for key in assets:
        kind = ASSET_KINDS[key]
        if find_asset(key) is None:
            lines.append(f'{key} ({kind.title}; from {kind.source}): hwhup assets add FILE')
    return lines


@dataclass(frozen=True)
class Start:
    """What all columns of a table share."""

    body: BodyModel
    prior: MixturePrior
    infants: bool = False
    """Whether the camera is HW-HuP's for SMIL."""

    def network(self, asset: str = 'spin_checkpoint') -> nn.Module:
        """Return a fresh copy of stored weights."""
        network = load_spin_checkpoint(require_asset(asset))
        return (InfantRegressor(network) if self.infants else network).to(device())


def load_start(body: str, infants: bool = False) -> Start:
    """Return body and prior of the assets folder."""
    prior = MixturePrior(load_gmm_08(require_asset('gmm_08')))
    return Start(load_body(body).to(device()), prior.to(device()), infants)


def device() -> torch.device:
    """Return the GPU where there is one."""
    return torch.device('cuda' if torch.cuda.is_available() else 'cpu')


class InfantRegressor(nn.Module):
    """A network that learned adults, before SMIL's camera (the released `if_cam_rct`)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Float[Tensor, 'b 3 s s']) -> Prediction:
        """Return the rectified prediction."""
        prediction: Prediction = self.network(images)
        return replace(prediction, camera=rectify_infant_camera(prediction.camera))


def spin_inputs(modalities: Sequence[Modality]) -> InputConfig:
    """Return how SPIN's network reads modalities: 224 px, depth as in SLP."""
    return InputConfig(tuple(modalities), SpinRegressor.input_size, 'spin')


def stage_for(stage: StageConfig, joints: int, config: OfficialConfig) -> StageConfig:
    """Return a column's setting for a set of so many joints, in this run's share of the epochs."""
    stage = for_joint_set(stage, joints)
    if not stage.epochs or config.epochs_share == 1:
        return stage
    epochs = max(round(config.epochs_share * stage.epochs), 2)
    share = epochs / stage.epochs
    second = max(round(share * stage.stage_two_epoch), 1) if stage.stage_two_epoch else 0
    return replace(
        stage,
        epochs=epochs,
        stage_two_epoch=min(second, epochs - 1),
        camera_until_epoch=round(share * stage.camera_until_epoch),
    )


def observed(config: OfficialConfig, stage: StageConfig | None = None) -> ObservationConfig:
    """Return how weak labels are taken: as the stage says, the paper's by default."""
    return observation_for(stage or TABLE_ONE['full'], config.observation)


def adapted(
    start: Start, stage: StageConfig, inputs: InputConfig, pool: WeakPool, config: OfficialConfig, run: Path
) -> nn.Module:
    """Return the start after its adaptation to the pool, from the folder `run` where that was done before."""
    network, file = start.network(), run / 'network.pt'
    stage = stage_for(stage, len(pool.joints), config)
    if not stage.epochs:
        return network
    if file.exists():
        network.load_state_dict(torch.load(file, weights_only=True, map_location=device()))
        return network
    set_of_joints(pool.joints)
    run.mkdir(parents=True, exist_ok=True)
    teachers = teachers_of(start.body, pool, start.prior, stage, dataset_name(pool))
    teachers.store.to(device())
    if stage.fits == 'static':
        valid = fit_once(network, inputs, pool, teachers, stage)
        logger.info('%d of %d static fits may teach', valid, len(pool))
    loop = LoopConfig(
        learning_rate=5e-5, schedule='constant', warm_up=0.0, weight_decay=0.0, clip_norm=0.0, seed=config.seed
    )
    adapting = AdaptConfig(stage=stage, loop=loop, batch_size=min(config.batch_size, len(pool)))
    adapt(network, inputs, start.body, pool, teachers, adapting, run, lambda _: {})
    partial = file.with_suffix('.partial')
    torch.save(network.state_dict(), partial)
    partial.replace(file)
    return network
