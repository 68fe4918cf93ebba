"""
What is known about poses and shapes before any image: mixture, angle and shape priors (method 2.3 and 2.4).

Energies are per sample and unweighted; the fit squares its weights and adds them up (`fitting/config.py`).
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor, nn

from hwhup_core.body.joints import index
from hwhup_core.body.unpickle import read_pickle
from hwhup_core.errors import AssetError, ConfigError

POSE_NUMBERS = 69
"""Axis-angle numbers of the 23 joints below the pelvis."""
BENDS = (('left_elbow', 1, 1.0), ('right_elbow', 1, -1.0), ('left_knee', 0, -1.0), ('right_knee', 0, -1.0))
"""Joint, axis and sign of the bends that go one way only: entries 55, 58, 12 and 15 of the 72 pose numbers."""
GMM_08_COMPONENTS = 8
SOURCE_PRIOR = Path(__file__).parent / 'assets' / 'source_prior.npz'
"""Our own pose mixture, fitted to the upright people of the source domain; made by `hwhup build-prior`."""
DEVIATION_FLOOR = 0.1
"""Smallest standard deviation (rad) that a fitted mixture may have in any direction, about 6 degrees: a joint that
never moved among the poses must not become a rule that no image can break."""


@dataclass(frozen=True)
class Mixture:
    """A mixture of m Gaussians over d numbers, float64."""

    means: Float[ndarray, 'm d']
    covariances: Float[ndarray, 'm d d']
    weights: Float[ndarray, ' m']
    """Positive."""

    def __post_init__(self) -> None:
        arrays = (self.means, self.covariances, self.weights)
        if not all(np.isfinite(array).all() for array in arrays) or not (self.weights > 0).all():
            raise AssetError('A mixture has NaN, infinite or non-positive weights. Use another file, or fit it again.')
        if np.linalg.eigvalsh(self.covariances).min() <= 0:
            raise AssetError('A covariance of the mixture is not positive definite. Use another file, or fit it again.')


class MixturePrior(nn.Module):
    """The smallest energy over the components of a mixture. Differentiable; `.to()` and `.double()` work as usual."""

    _directions: Tensor
    _centers: Tensor
    _offsets: Tensor

    def __init__(self, mixture: Mixture) -> None:
        super().__init__()
        self.components, self.dimensions = mixture.means.shape
        # P = L L^T gives x^T P x = |L^T x|^2: all components with one product, and half the way back.
        factors = np.linalg.cholesky(np.linalg.inv(mixture.covariances))
        self._keep('_directions', factors.transpose(1, 0, 2).reshape(self.dimensions, -1))
        self._keep('_centers', np.einsum('md,mde->me', mixture.means, factors).reshape(-1))
        self._keep('_offsets', component_offsets(mixture))

    def _keep(self, name: str, array: ndarray) -> None:
        self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(array, np.float32)), persistent=False)

    def forward(self, pose: Float[Tensor, 'b d']) -> Float[Tensor, ' b']:
        """Return min over m of (x - mu_m)^T P_m (x - mu_m) / 2 - log w_m' (method 2.4)."""
        white = (pose @ self._directions - self._centers).unflatten(1, (self.components, -1))
        energy: Tensor = (0.5 * white.square().sum(dim=2) + self._offsets).min(dim=1).values
        return energy


def component_offsets(mixture: Mixture) -> Float[ndarray, ' m']:
    """
    Return -log w_m' with w_m' = w_m / ((2 pi)^(d/2) sqrt(det S_m) / min_k sqrt(det S_k)).

    For d = 69 the first factor adds 63.4 to every component. Determinants are logarithms in float64: as plain numbers
    those of 69 dimensions leave the range of float32.
    """
    half_log_determinants = 0.5 * np.linalg.slogdet(mixture.covariances)[1]
    constant = 0.5 * mixture.means.shape[1] * math.log(2 * math.pi)
    offsets: ndarray = constant + half_log_determinants - half_log_determinants.min() - np.log(mixture.weights)
    return offsets


def angle_energy(pose: Float[Tensor, 'b 69']) -> Float[Tensor, ' b']:
    """Return the sum of exp(bend)^2 over elbows and knees: steep when they bend the wrong way, flat otherwise."""
    columns = [pose[:, 3 * (index(joint) - 1) + axis] * sign for joint, axis, sign in BENDS]
    return (2 * torch.stack(columns, dim=1)).exp().sum(dim=1)


def shape_energy(betas: Float[Tensor, 'b 10']) -> Float[Tensor, ' b']:
    """Return the sum of the squared shape coefficients."""
    return betas.square().sum(dim=1)


def load_gmm_08(path: str | Path) -> Mixture:
    """Return the official pose mixture `gmm_08.pkl` (8 components over 69 numbers); executes nothing from the file."""
    path = Path(path)
    if not path.is_file():
        raise AssetError(f'No pose mixture at {path}. Expected gmm_08.pkl of SMPLify, or leave it out to use our own.')
    try:
        content = read_pickle(path, ('means', 'covars', 'weights'))
    except AssetError as error:
        raise AssetError(f'Expected the pose mixture gmm_08.pkl. {error}') from error
    count, size = GMM_08_COMPONENTS, POSE_NUMBERS
    shapes = {'means': (count, size), 'covars': (count, size, size), 'weights': (count,)}
    return _mixture({key: content.get(key) for key in shapes}, shapes, path)


def bundled_mixture() -> Mixture:
    """Return our own pose mixture (8 components over 69 numbers), which a fit uses where `gmm_08.pkl` is not given."""
    return load_mixture(SOURCE_PRIOR)


def save_mixture(mixture: Mixture, path: str | Path) -> None:
    """Write a mixture of ours as .npz; it appears whole or not at all."""
    path = Path(path)
    if path.suffix != '.npz':
        raise AssetError(f'Cannot write a mixture to {path}. Expected a name that ends in .npz.')
    partial = path.with_suffix('.partial.npz')
    np.savez_compressed(partial, means=mixture.means, covars=mixture.covariances, weights=mixture.weights)
    os.replace(partial, path)


def load_mixture(path: str | Path) -> Mixture:
    """Return a mixture that `save_mixture` wrote."""
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            content = {key: archive[key] for key in archive.files}
    except Exception as error:  # A broken zip or a pickled array surfaces as any of several types.
        raise AssetError(f'{path} is not a readable mixture ({error!r}). Expected .npz; fit it again.') from error
    means = np.asarray(content.get('means'))
    count, size = means.shape if means.ndim == 2 else (0, 0)
    return _mixture(content, {'means': (count, size), 'covars': (count, size, size), 'weights': (count,)}, path)


def _mixture(content: dict[str, ndarray | None], shapes: dict[str, tuple[int, ...]], path: Path) -> Mixture:
    """Return the mixture of a file's entries, each checked against its expected shape."""
    for key, shape in shapes.items():
        found = np.asarray(content.get(key))
        if found.dtype.kind != 'f' or found.shape != shape or not found.size:
            raise AssetError(f'{path}: {key} has type {found.dtype}, shape {found.shape}. Expected floats {shape}.')
    means, covariances, weights = (np.asarray(content[key], np.float64) for key in ('means', 'covars', 'weights'))
    try:
        return Mixture(means, covariances, weights)
    except AssetError as error:
        raise AssetError(f'{path}: {error}') from error


def fit_mixture(
    poses: Float[ndarray, 'n d'],
    components: int,
    seed: int,
    iterations: int = 100,
    floor: float = DEVIATION_FLOOR,
) -> Mixture:
    """
    Return the Gaussian mixture of poses (axis-angle, rad) by expectation maximisation with full covariances.

    No direction gets a standard deviation below `floor`: eigenvalues are raised to its square, which is the most likely
    covariance under that condition, so the likelihood still never falls. The same seed gives the same mixture.
    """
    if components < 1 or len(poses) < 2 * components or not np.isfinite(poses).all():
        raise ConfigError(
            f'{len(poses)} poses for {components} components: expected finite numbers, and at least two poses each.'
        )
    poses = np.asarray(poses, np.float64)
    mixture = _maximise(poses, _first_shares(poses, components, np.random.default_rng(seed)), floor)
    likelihood = -math.inf
    for _ in range(iterations):
        joint = log_densities(mixture, poses)
        total = np.logaddexp.reduce(joint, axis=1)
        if total.mean() - likelihood < 1e-6:
            break
        likelihood = float(total.mean())
        mixture = _maximise(poses, np.exp(joint - total[:, None]), floor)
    return mixture


def log_densities(mixture: Mixture, poses: Float[ndarray, 'n d']) -> Float[ndarray, 'n m']:
    """Return log(w_m N(x; mu_m, S_m)); the logarithm of the sum of exponentials over m is the log likelihood."""
    columns = []
    for mean, covariance, weight in zip(mixture.means, mixture.covariances, mixture.weights):
        factor = np.linalg.cholesky(covariance)
        white = np.linalg.solve(factor, (poses - mean).T)
        constant = 0.5 * len(mean) * math.log(2 * math.pi) + np.log(np.diag(factor)).sum()
        columns.append(math.log(weight) - constant - 0.5 * (white * white).sum(axis=0))
    return np.stack(columns, axis=1)


def _first_shares(poses: Float[ndarray, 'n d'], components: int, rng: np.random.Generator) -> Float[ndarray, 'n m']:
    """Return a hard assignment to centres drawn far from each other (k-means++)."""
    centers = poses[rng.integers(len(poses))][None]
    distances = ((poses - centers[0]) ** 2).sum(axis=1)
    for _ in range(components - 1):
        likely = distances / distances.sum() if distances.sum() > 0 else None
        centers = np.concatenate([centers, poses[rng.choice(len(poses), p=likely)][None]])
        distances = np.minimum(distances, ((poses - centers[-1]) ** 2).sum(axis=1))
    nearest = np.stack([((poses - center) ** 2).sum(axis=1) for center in centers], axis=1).argmin(axis=1)
    one_hot: ndarray = np.eye(components)[nearest]
    return one_hot


def _maximise(poses: Float[ndarray, 'n d'], shares: Float[ndarray, 'n m'], floor: float) -> Mixture:
    """Return the most likely mixture for given shares of each component in each pose."""
    # A component that lost all its poses keeps a trace of each: it becomes the distribution of all of them.
    counts = shares.sum(axis=0)
    shares = np.where(counts < 1e-6, 1e-6, shares)
    counts = shares.sum(axis=0)
    means = (shares.T @ poses) / counts[:, None]
    covariances = []
    for share, count, mean in zip(shares.T, counts, means):
        centred = poses - mean
        values, vectors = np.linalg.eigh((centred * share[:, None]).T @ centred / count)
        covariances.append((vectors * np.maximum(values, floor**2)) @ vectors.T)
    return Mixture(means, np.stack(covariances), counts / counts.sum())
