"""What a training run can be told; the defaults live here only, `config/train/*.yaml` overrides them."""

from __future__ import annotations

from dataclasses import dataclass, field

from hwhup_core.errors import ConfigError
from hwhup_core.networks.compact import CompactConfig
from hwhup_core.networks.packing import InputConfig
from hwhup_core.training.loop import LoopConfig
from hwhup_core.training.losses import LossWeights
from hwhup_core.training.pool import AugmentConfig


@dataclass(frozen=True)
class TrainConfig:
    """Supervised training on rendered samples with exact truth: how the first weights of a place are made."""

    name: str = 'crib_depth'
    """Name of the weights file."""
    body: str = 'infant'
    """Bundled body's name or a body file."""
    seed: int = 0
    """Seeds the samples, the augmentation and the network's first weights."""
    samples: int = 30_000
    """Rendered samples in memory."""
    held_out: int = 1_000
    """Frames for validation, calibration and the card; never trained on, other seed."""
    epochs: int = 40
    """Passes over the samples."""
    batch_size: int = 64
    """Samples a step."""
    learning_rate: float = 1e-3
    """Peak of the one-cycle schedule."""
    weight_decay: float = 1e-4
    """Of AdamW."""
    clip_norm: float = 1.0
    """Largest norm of the gradient; without it the scale term, an exponential, was seen to throw a run back."""
    warm_up: float = 0.1
    """Share of the steps in which the learning rate rises."""
    bfloat16: bool = True
    """Whether the network's convolutions run in bfloat16 (autocast); losses and weights stay float32."""
    network: CompactConfig = field(default_factory=CompactConfig)
    """Shape of the network."""
    inputs: InputConfig = field(default_factory=InputConfig)
    """What the network reads."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """How batches differ from the samples."""
    weights: LossWeights = field(default_factory=LossWeights)
    """What each term of the loss counts."""

    def __post_init__(self) -> None:
        if self.samples < self.batch_size:
            raise ConfigError(f'samples is {self.samples}, below one batch of {self.batch_size}. Raise it.')
        if min(self.held_out, self.epochs, self.batch_size) < 1 or self.learning_rate <= 0:
            raise ConfigError('held_out, epochs and batch_size must be at least 1 and learning_rate above 0.')
        if self.network.input_size != self.inputs.size:
            raise ConfigError(
                f'network.input_size is {self.network.input_size}, inputs.size is {self.inputs.size}. Make them equal.'
            )

    def loop(self) -> LoopConfig:
        """Return what the training loop needs to know."""
        return LoopConfig(
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            warm_up=self.warm_up,
            weight_decay=self.weight_decay,
            clip_norm=self.clip_norm,
            seed=self.seed,
        )
