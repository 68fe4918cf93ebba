"""What the fit can be told; the defaults live here only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from hwhup_core.errors import ConfigError

Backend = Literal['auto', 'compiled', 'eager']


@dataclass(frozen=True)
class EnergyWeights:
    """
    What each energy counts. All are squared before use, as SMPLify's are; the reprojection counts 1.

    The paper lets lambda(e) = lambda_0 f^e fade. Here lambda is `pose`, the number *before* squaring, as in the
    released options, so the energy itself counts pose^2 f^(2e): 22.8 at first, 0.89 in epoch 10, 0.034 in epoch 20.
    This is the only place where the schedule is written down and `energies.body_energy` the only one that squares.
    """

    pose: float = 4.78
    """lambda_0 of the mixture prior; 0 is the paper's noPrior ablation."""
    pose_decay: float = 0.85
    """f; 1 keeps the prior constant."""
    angle: float = 15.2
    """Of the bends of elbows and knees."""
    shape: float = 5.0
    """Of the squared betas."""
    depth: float = 100.0
    """Of the change of the camera's distance (m) in the camera stage."""

    def __post_init__(self) -> None:
        if min(self.pose, self.angle, self.shape, self.depth) < 0 or not 0 < self.pose_decay <= 1:
            raise ConfigError('Energy weights must be at least 0, and pose_decay above 0 and at most 1.')

    def prior_weight_at(self, epoch: int) -> float:
        """Return lambda(e) = lambda_0 f^e, not yet squared; epochs count from 0."""
        return self.pose * self.pose_decay**epoch


@dataclass(frozen=True)
class SmplifyConfig:
    """The fit of method 2; the defaults are the paper's."""

    camera_iterations: int = 50
    """Of the first stage: translation and global orientation."""
    body_iterations: int = 50
    """Of the second stage: pose, shape and global orientation."""
    learning_rate: float = 1e-2
    """Of Adam, in radians, metres and standard deviations alike."""
    adam_betas: tuple[float, float] = (0.9, 0.999)
    """Of Adam's two moving averages."""
    sigma_px: float = 100.0
    """Crop pixels (of 224) beyond which an error counts as an outlier."""
    threshold: float = 100.0
    """
    Score (px^2, mean over all joints of the set) below which a fit may teach the network.

    Made for SPIN's 49: with 13 of them visible, 100 allows each an error of 19 px. A smaller set has fewer empty slots
    in its mean, so the same number is stricter: 13 of 14 joints at 350 are what 13 of 49 are at 100.
    """
    largest_beta: float = 3.0
    """A fit with a coefficient beyond this teaches the mean shape instead (all betas 0)."""
    pull_hidden_torso: bool = False
    """Whether ground-truth slots without confidence pull in the camera stage and OpenPose slots are never looked at, as
    in the released code; else each of hips and shoulders is taken from the first slot that is visible, or left out."""
    backend: Backend = 'auto'
    """
    `compiled`: by numba, for our `BodyModel` on the CPU; `eager`: by torch, on CUDA as a captured graph.

    `auto` takes `compiled` wherever it can run. Both give the same fits but for rounding.
    """
    weights: EnergyWeights = field(default_factory=EnergyWeights)

    def __post_init__(self) -> None:
        if self.backend not in get_args(Backend):
            raise ConfigError(f'backend is {self.backend!r}. Expected one of {", ".join(get_args(Backend))}.')
        if min(self.camera_iterations, self.body_iterations) < 0:
            raise ConfigError('camera_iterations and body_iterations must be at least 0.')
        if min(self.learning_rate, self.sigma_px, self.threshold, self.largest_beta) <= 0:
            raise ConfigError('learning_rate, sigma_px, threshold and largest_beta must be above 0.')
        if not all(0 <= beta < 1 for beta in self.adam_betas):
            raise ConfigError(f'adam_betas are {self.adam_betas}. Expected two numbers in [0, 1).')


PRESETS = {
    'paper': SmplifyConfig(),
    'released_code': SmplifyConfig(
        camera_iterations=100,
        body_iterations=100,
        pull_hidden_torso=True,
        weights=EnergyWeights(pose_decay=1.0),
    ),
}
"""`paper`: 50 + 50 iterations, fading prior. `released_code`: 100 + 100, and the prior stays, because the faded weight
never reached its optimiser."""
