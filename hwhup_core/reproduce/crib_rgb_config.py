"""What the adaptation of colour weights to a crib can be told; the defaults live here only, YAML overrides them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hwhup_core.body.keypoint_sets import keypoint_set
from hwhup_core.errors import ConfigError
from hwhup_core.networks.compact import CompactConfig
from hwhup_core.networks.packing import InputConfig, Modality
from hwhup_core.synthetic.domain import DomainConfig
from hwhup_core.synthetic.site import SiteConfig
from hwhup_core.training.domain_pools import JOINTS
from hwhup_core.training.site import RecordConfig
from hwhup_core.training.stages import DP_VIS, FULL, StageConfig, for_joint_set, with_true_camera
from hwhup_core.training.transforms import LookConfig

SOURCE, ADAPTED = 'crib_rgb_source', 'crib_rgb'
"""Names of the weights before and after the adaptation."""
CALIBRATION_INFANTS, TEST_INFANTS = 1001, 2001
"""First infants whose truth is used, and never recorded: for the card's calibration, and for the figures."""


@dataclass(frozen=True)
class CribRgbConfig:
    """One site adaptation of colour weights."""

    body: str = 'infant'
    seed: int = 0
    """Of the source domain, the first weights and the batches."""
    source: DomainConfig = field(
        default_factory=lambda: DomainConfig(kind='room', body='infant', poses=20, modalities=('color',))
    )
    """Where truth is: upright infants in rooms."""
    source_subjects: int = 150
    source_epochs: int = 14
    record: RecordConfig = field(default_factory=RecordConfig)
    """The site, and how it is labelled."""
    infants: int = 36
    """Recorded at the site, from number 1."""
    epochs: int = 12
    """Of the adaptation."""
    stage_two_epoch: int = 7
    """From which on rendered depth takes the place of the proxies."""
    proxy_weight: float = 7.5
    """Times the released weight of L3D, see `TableConfig`."""
    betas_weight: float = 30.0
    """Times the released weight of the shape part of LSMPL, see `TableConfig`."""
    learning_rate: float = 1e-3
    """Peak of both trainings."""
    batch_size: int = 32
    gain: float = 0.4
    """Largest relative change of a colour channel's brightness."""
    test_infants: int = 20
    """Infants at the site, never recorded, that the figures are over, and as many for the calibration."""
    test_frames: int = 6
    """Of each of them."""
    network: CompactConfig = field(
        default_factory=lambda: CompactConfig(
            stem_width=16, widths=(32, 64, 128), blocks=(1, 2, 2), spatial_width=32, hidden_width=512
        )
    )
    inputs: InputConfig = field(default_factory=lambda: InputConfig((Modality.RGB,)))
    looks: LookConfig = field(default_factory=LookConfig)

    def __post_init__(self) -> None:
        if min(self.source_subjects, self.infants, self.test_infants, self.test_frames, self.batch_size) < 1:
            raise ConfigError('source_subjects, infants, test_infants, test_frames and batch_size: at least 1 each.')
        if self.infants >= CALIBRATION_INFANTS:
            raise ConfigError(f'infants is {self.infants}. Expected below {CALIBRATION_INFANTS}: those are held out.')

    def stage(self) -> StageConfig:
        """Return the paper's full method before the real camera; without a Stage II where it would start too late."""
        method = FULL if self.stage_two_epoch < self.epochs else DP_VIS
        weights = replace(
            method.weights,
            proxies=method.weights.proxies * self.proxy_weight,
            betas=method.weights.betas * self.betas_weight,
        )
        stage = replace(
            method,
            epochs=self.epochs,
            stage_two_epoch=self.stage_two_epoch,
            weights=weights,
            cleaning=self.record.observation.cleaning,
            proxy=self.record.observation.proxy,
        )
        return for_joint_set(with_true_camera(stage), len(keypoint_set(JOINTS).joints))

    def held_out(self) -> SiteConfig:
        """Return how infants at the site are watched that figures and calibration are over."""
        return replace(self.record.site, frames=self.test_frames)

    def before_the_site(self) -> CribRgbConfig:
        """Return the configuration with the defaults of all that the training on the source domain does not know."""
        known = ('body', 'seed', 'source', 'source_subjects', 'source_epochs', 'learning_rate', 'batch_size', 'gain')
        kept = {name: getattr(self, name) for name in (*known, 'network', 'inputs', 'looks')}
        observation = replace(RecordConfig().observation, picture=self.record.observation.picture)
        observation = replace(observation, margin=self.record.observation.margin)
        return CribRgbConfig(record=RecordConfig(observation=observation), **kept)
