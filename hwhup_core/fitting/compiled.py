"""The compiled back end: both stages on one processor core, products by torch and everything else by `kernels`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from hwhup_core.body.keypoint_sets import PointMap
from hwhup_core.body.model import BodyModel
from hwhup_core.body.priors import MixturePrior
from hwhup_core.fitting import kernels
from hwhup_core.fitting.config import SmplifyConfig
from hwhup_core.fitting.energies import true_distance
from hwhup_core.fitting.folding import BELOW, Pairs, fold_points
from hwhup_core.fitting.inputs import BodyInputs, CameraInputs
from hwhup_core.fitting.minimise import AdamSettings

EPSILON = 1e-8
"""Of torch.optim.Adam."""
NUM_BETAS = 10


@dataclass(frozen=True)
class Constants:
    """What body, key point set and prior come to, in one floating type."""

    pairs: Pairs
    template: Float[Tensor, ' n']
    directions: Float[Tensor, 'f n']
    centers: Float[Tensor, ' e']
    """Of the mixture, whitened; entry e of component m in column e m_count + m, as in `whitening`."""
    whitening: Float[Tensor, '69 e']
    factors: Float[ndarray, 'm 69 69']
    """The same by component, transposed: row e is what entry e pulls at."""
    offsets: Float[ndarray, ' m']


def constants(body: BodyModel, here: PointMap, prior: MixturePrior, dtype: torch.dtype) -> Constants:
    """Return the constants of the kernels."""
    folded = fold_points(body, here)
    # Components lie side by side, so that their sums of squares run in vector registers.
    sizes = (prior.dimensions, prior.components, prior.dimensions)
    whitening = prior.get_buffer('_directions').cpu().to(dtype).reshape(sizes)
    centers = prior.get_buffer('_centers').cpu().to(dtype).reshape(sizes[1:])
    template, directions = (torch.from_numpy(array).to(dtype) for array in (folded.template, folded.directions))
    mass = folded.pairs.mass.astype(template.numpy().dtype)
    return Constants(
        pairs=folded.pairs._replace(mass=mass),
        template=template,
        directions=directions,
        centers=centers.T.reshape(-1).contiguous(),
        whitening=whitening.transpose(1, 2).reshape(sizes[0], -1).contiguous(),
        factors=whitening.permute(1, 2, 0).contiguous().numpy(),
        offsets=prior.get_buffer('_offsets').cpu().to(dtype).numpy(),
    )


class CompiledEnergies:
    """Both energies with their gradients in closed form, and their minimisation, for tensors on the CPU."""

    def __init__(self, body: BodyModel, here: PointMap, prior: MixturePrior, config: SmplifyConfig) -> None:
        self._parts, self._config = (body, here, prior), config
        self._constants: dict[torch.dtype, Constants] = {}

    def minimise(
        self, start: Float[Tensor, 'b n'], inputs: CameraInputs | BodyInputs, iterations: int, settings: AdamSettings
    ) -> Float[Tensor, 'b n']:
        """Return the variables after some iterations of Adam from `start`, as `minimise.minimise` does."""
        variable = start.detach().clone(memory_format=torch.contiguous_format)
        numbers = variable.numpy()
        mean, square = np.zeros_like(numbers), np.zeros_like(numbers)
        moving, steps = _adam_table(iterations, settings, numbers.dtype)
        with torch.no_grad():
            for step in steps:
                _, gradient = self.gradient(variable, inputs)
                kernels.adam_step(gradient.numpy(), moving, step, mean, square, numbers)
        return variable

    def gradient(
        self, variable: Float[Tensor, 'b n'], inputs: CameraInputs | BodyInputs
    ) -> tuple[Float[Tensor, ' b'], Float[Tensor, 'b n']]:
        """Return the energies of the stage that the inputs belong to, and their gradients."""
        return self.camera(variable, inputs) if isinstance(inputs, CameraInputs) else self.body(variable, inputs)

    def camera(
        self, variable: Float[Tensor, 'b 6'], inputs: CameraInputs
    ) -> tuple[Float[Tensor, ' b'], Float[Tensor, 'b 6']]:
        """Return `Smplify.camera_energy` and its gradient."""
        energy, gradient = variable.new_empty(len(variable)), torch.empty_like(variable)
        true_share = true_distance(torch.ones_like(energy), inputs.pinhole)
        kernels.camera_gradient(
            *_arrays(variable, inputs.points, inputs.pelvis, inputs.pixels, inputs.torso, inputs.first_distance),
            *_arrays(inputs.pinhole.focal, inputs.pinhole.center, true_share),
            self._config.weights.depth**2,
            *_arrays(energy, gradient),
        )
        return energy, gradient

    def body(
        self, variable: Float[Tensor, 'b 82'], inputs: BodyInputs
    ) -> tuple[Float[Tensor, ' b'], Float[Tensor, 'b 82']]:
        """Return `Smplify.body_energy` and its gradient."""
        here, config, count = self._for(variable.dtype), self._config, len(variable)
        energy, gradient = variable.new_empty(count), torch.empty_like(variable)
        rotations, factors = variable.new_empty(count, 24, 9), variable.new_empty(count, 24, 2)
        torques = variable.new_empty(count, 24, 3)
        kernels.turn_joints(*_arrays(variable, rotations, factors))
        coefficients = variable[:, BELOW:]
        posed = len(here.directions) > NUM_BETAS
        if posed:
            features = rotations[:, 1:] - torch.eye(3, dtype=variable.dtype).flatten()
            coefficients = torch.cat([coefficients, features.flatten(1)], dim=1)
        linear = torch.addmm(here.template, coefficients, here.directions)
        linear_gradient = torch.empty_like(linear)
        kernels.pull_bodies(
            here.pairs,
            *_arrays(linear, rotations, inputs.translation, inputs.pinhole.focal, inputs.pinhole.center),
            *_arrays(inputs.pixels, inputs.confidence),
            config.sigma_px**2,
            *_arrays(energy, torques, linear_gradient),
        )
        pulled = linear_gradient @ here.directions.T
        if posed:
            kernels.add_feature_torques(*_arrays(rotations, pulled[:, NUM_BETAS:], torques))
        kernels.finish_body_gradient(
            *_arrays(variable, factors, torques, pulled[:, :NUM_BETAS]),
            config.weights.angle**2,
            config.weights.shape**2,
            *_arrays(energy, gradient),
        )
        white = torch.addmm(here.centers, variable[:, 3:BELOW], here.whitening, beta=-1)
        weight = inputs.prior_weight.square()
        kernels.add_mixture_prior(*_arrays(white), here.offsets, here.factors, *_arrays(weight, energy, gradient))
        return energy, gradient

    def _for(self, dtype: torch.dtype) -> Constants:
        """Return the constants in a type; made once."""
        if dtype not in self._constants:
            self._constants[dtype] = constants(*self._parts, dtype)
        return self._constants[dtype]


def _arrays(*tensors: Tensor) -> tuple[ndarray, ...]:
    """Return the tensors' own memory, contiguous: one compiled version of a kernel serves all calls."""
    return tuple(tensor.contiguous().numpy() for tensor in tensors)


def _adam_table(
    iterations: int, settings: AdamSettings, kind: np.dtype
) -> tuple[Float[ndarray, '5'], Float[ndarray, 's 2']]:
    """Return what Adam keeps and adds (mean, square) and its epsilon; each step's rate and root, bias corrected."""
    (keep_mean, keep_square), steps = settings.betas, np.arange(1, iterations + 1)
    moving = np.array([keep_mean, 1 - keep_mean, keep_square, 1 - keep_square, EPSILON], kind)
    rates = settings.learning_rate / (1 - keep_mean**steps)
    roots = np.sqrt(1 - keep_square**steps)
    return moving, np.stack([rates, roots], axis=1).astype(kind)
