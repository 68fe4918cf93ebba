"""The pose prior that ships with the package: a mixture over the upright people of the source domain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from hwhup_core.body.priors import GMM_08_COMPONENTS, Mixture, fit_mixture, save_mixture
from hwhup_core.geometry.rotations import matrix_to_axis_angle
from hwhup_core.synthetic.rotations import joint_rotations
from hwhup_core.synthetic.upright import sample_upright_poses

SOURCE_POSES = 20_000
SOURCE_SEED = 3


def upright_axis_angles(rng: np.random.Generator, count: int) -> Float[ndarray, 'n 69']:
    """Return the joints below the pelvis of random upright people as axis-angle numbers, radians, SMPL order."""
    matrices = joint_rotations(sample_upright_poses(rng, count).joint_angles)
    result: ndarray = matrix_to_axis_angle(torch.from_numpy(matrices)).flatten(1).numpy()
    return result


def fit_source_prior(seed: int = SOURCE_SEED, count: int | None = None) -> Mixture:
    """
    Return the mixture of `count` upright poses (None: as many as the bundled one was fitted to).

    The same seed gives the same one up to rounding.
    """
    poses = upright_axis_angles(np.random.default_rng(seed), count or SOURCE_POSES)
    return fit_mixture(poses, GMM_08_COMPONENTS, seed)


def build_source_prior(path: str | Path, seed: int = SOURCE_SEED) -> Mixture:
    """Fit the mixture that is bundled, write it as .npz and return it."""
    mixture = fit_source_prior(seed)
    save_mixture(mixture, path)
    return mixture
