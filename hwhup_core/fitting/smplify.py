"""
SMPLify in the loop (method 2): bodies fitted to 2D key points, from a first guess, in batches, without the mesh.

First the camera stage (translation and global orientation, from the torso), then the body stage (pose, shape and global
orientation). Samples do not know each other. Nothing given is changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hwhup_core.body.keypoint_sets import KeypointSet, PointMap, point_map
from hwhup_core.body.model import BodyModel
from hwhup_core.body.priors import MixturePrior
from hwhup_core.errors import ConfigError
from hwhup_core.fitting import energies
from hwhup_core.fitting.camera import spin_pinholes
from hwhup_core.fitting.config import SmplifyConfig
from hwhup_core.fitting.inputs import BodyInputs, CameraInputs, Observation
from hwhup_core.fitting.minimise import AdamSettings, CapturedMinimiser, Energy, I, minimise
from hwhup_core.geometry.cameras import HALF_CROPS_FOCAL, crop_translation
from hwhup_core.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from hwhup_core.types import BodyParams, CropPinhole, Prediction, Skeleton, TensorRecord, WeakPerspective

if TYPE_CHECKING:
    from hwhup_core.fitting.compiled import CompiledEnergies

FARTHEST_PX = 1e6
"""Key points are drawn in to this distance, so that the square of any error is a finite float32."""


@runtime_checkable
class HasSkeleton(Protocol):
    """What a fit needs of a body: `BodyModel`, or another implementation to compare with."""

    landmark_names: tuple[str, ...]

    def skeleton(self, params: BodyParams) -> Skeleton:
        """Return joints and landmarks."""
        ...


@dataclass(frozen=True)
class Fit(TensorRecord):
    """Fitted bodies. Always finite, but for the score."""

    params: BodyParams
    translation: Float[Tensor, 'b 3']
    """Before the crop's pinhole camera that was given to the fit, SPIN's far one by default; metres."""
    score: Float[Tensor, ' b']
    """Mean reprojection energy over the set's joints, px^2; infinite where nothing was fitted."""
    valid: Bool[Tensor, ' b']
    """Score below the threshold: fit to teach the network."""


def fit(
    body: HasSkeleton,
    initial: Prediction,
    keypoints: Float[Tensor, 'b k 3'],
    keypoint_set: KeypointSet,
    prior: MixturePrior,
    config: SmplifyConfig,
    prior_weight: float,
    pinhole: CropPinhole | None = None,
) -> Fit:
    """Return the fits of one batch; in a training loop keep a `Smplify`, which captures its CUDA graphs only once."""
    return Smplify(body, keypoint_set, prior, config).fit(initial, keypoints, prior_weight, pinhole)


class Smplify:
    """Fits batches of key points; keeps the captured iterations of each batch size on CUDA."""

    def __init__(
        self, body: HasSkeleton, keypoint_set: KeypointSet, prior: MixturePrior, config: SmplifyConfig
    ) -> None:
        self.keypoint_set, self.config = keypoint_set, config
        self._body, self._prior = body, prior
        self._map = point_map(keypoint_set, body.landmark_names)
        self._adam = AdamSettings(config.learning_rate, config.adam_betas)
        self._compiled = _compiled_energies(body, self._map, prior, config)
        self._captured: dict[tuple[object, ...], CapturedMinimiser[Any]] = {}

    def fit(
        self,
        initial: Prediction,
        keypoints: Float[Tensor, 'b k 3'],
        prior_weight: float,
        pinhole: CropPinhole | None = None,
    ) -> Fit:
        """
        Return the fits from the (detached) guess `initial` to key points (x, y in pixels 0 to 224, confidence).

        `prior_weight` is `EnergyWeights.prior_weight_at(epoch)`, `pinhole` the true camera of each crop; without one
        all are seen by SPIN's far camera. A sample without a visible joint, or whose guess or camera is not finite, or
        whose guess is not before the camera, comes back as it was (made finite), invalid, with an infinite score.
        """
        with torch.enable_grad(), torch.autocast(keypoints.device.type, enabled=False):
            return self._fit(initial.detach(), keypoints, prior_weight, pinhole).detach()

    def _fit(
        self, initial: Prediction, keypoints: Float[Tensor, 'b k 3'], prior_weight: float, pinhole: CropPinhole | None
    ) -> Fit:
        seen = self.observe(keypoints)
        pinhole, exists = _safe_pinhole(pinhole, initial.params.betas)
        first, first_translation, usable = _safe_start(initial, pinhole)
        root, translation = self._camera_stage(first, first_translation, seen, pinhole)
        start = torch.cat([root, matrix_to_axis_angle(first.joint_rotations).flatten(1), first.betas], dim=1)
        weight = torch.full_like(translation[:, 0], prior_weight)
        inputs = BodyInputs(translation, seen.pixels, seen.confidence, weight, pinhole)
        fitted = self._minimise(self.body_energy, start, inputs, self.config.body_iterations)
        found = exists & usable & (seen.confidence > 0).any(dim=1)
        found &= torch.cat([fitted, translation], dim=1).isfinite().all(dim=1)
        params = choose_params(found, unpack(fitted), first)
        translation = torch.where(found[:, None], translation, first_translation)
        score = torch.where(found, self.score(params, translation, seen, pinhole), torch.inf)
        return Fit(params, translation, score, score < self.config.threshold)

    def observe(self, keypoints: Float[Tensor, 'b k 3']) -> Observation:
        """Return the key points as the fit reads them; a joint with a non-finite entry counts as not seen."""
        expected = len(self.keypoint_set.joints)
        if keypoints.shape[1] != expected:
            raise ConfigError(
                f'{keypoints.shape[1]} key points, but the set {self.keypoint_set.name} has {expected}. Name the set '
                'they belong to.'
            )
        here = self._map_for(keypoints)
        finite = keypoints.detach().isfinite().all(dim=2)
        safe = torch.where(finite[..., None], keypoints.detach().clamp(-FARTHEST_PX, FARTHEST_PX), 0.0)
        confidence = safe[..., 2].clamp(min=0.0)
        return Observation(
            pixels=safe[..., :2].contiguous(),
            confidence=confidence * here.fitted,
            placing=confidence * here.placing,
            torso=_torso_weights(confidence, finite, here, self.config.pull_hidden_torso),
        )

    def points(self, params: BodyParams) -> Float[Tensor, 'b k 3']:
        """Return the set's joints on the body, metres; the origin for those it lacks."""
        skeleton = self._body.skeleton(params)
        return self._map_for(params.betas).mix @ torch.cat([skeleton.joints, skeleton.landmarks], dim=1)

    def score(
        self,
        params: BodyParams,
        translation: Float[Tensor, 'b 3'],
        seen: Observation,
        pinhole: CropPinhole | None = None,
    ) -> Float[Tensor, ' b']:
        """Return the score of bodies before `pinhole` (SPIN's by default), px^2; infinite where nothing is seen."""
        with torch.no_grad():
            projected = energies.project_to_crop(self.points(params), translation, pinhole)
            return energies.reprojection_score(projected, seen.pixels, seen.confidence, self.config.sigma_px)

    def camera_energy(self, variable: Float[Tensor, 'b 6'], inputs: CameraInputs) -> Float[Tensor, ' b']:
        """Return the energy of global orientation (axis-angle), x, y and far distance."""
        turned = inputs.points @ axis_angle_to_matrix(variable[:, :3]).transpose(1, 2)
        translation = _from_far(variable[:, 3:], inputs.pinhole)
        projected = energies.project_to_crop(turned + inputs.pelvis[:, None], translation, inputs.pinhole)
        torso = energies.torso_energy(projected, inputs.pixels, inputs.torso)
        distance = energies.distance_energy(variable[:, 5], inputs.first_distance)
        return energies.camera_energy(torso, distance, self.config.weights)

    def body_energy(self, variable: Float[Tensor, 'b 82'], inputs: BodyInputs) -> Float[Tensor, ' b']:
        """Return the energy of global orientation, pose (axis-angle) and shape."""
        pose, betas = variable[:, 3:72], variable[:, 72:]
        projected = energies.project_to_crop(self.points(unpack(variable)), inputs.translation, inputs.pinhole)
        reprojection = energies.reprojection_energy(projected, inputs.pixels, inputs.confidence, self.config.sigma_px)
        prior = self._prior(pose)
        return energies.body_energy(reprojection, prior, pose, betas, inputs.prior_weight, self.config.weights)

    def _camera_stage(
        self, first: BodyParams, translation: Float[Tensor, 'b 3'], seen: Observation, pinhole: CropPinhole
    ) -> tuple[Float[Tensor, 'b 3'], Float[Tensor, 'b 3']]:
        """Return global orientation (axis-angle) and translation."""
        upright = torch.eye(3, dtype=translation.dtype, device=translation.device).expand_as(first.global_rotation)
        with torch.no_grad():
            posed = BodyParams(upright, first.joint_rotations, first.betas)
            pelvis = self._body.skeleton(posed).joints[:, 0]
            points = self.points(posed) - pelvis[:, None]
        far = energies.far_distance(translation[:, 2], pinhole)
        inputs = CameraInputs(points, pelvis, seen.pixels, seen.torso, far, pinhole)
        start = torch.cat([matrix_to_axis_angle(first.global_rotation), translation[:, :2], far[:, None]], dim=1)
        placed = self._minimise(self.camera_energy, start, inputs, self.config.camera_iterations)
        return placed[:, :3], _from_far(placed[:, 3:], pinhole)

    def _minimise(
        self, energy: Energy[I], start: Float[Tensor, 'b n'], inputs: I, iterations: int
    ) -> Float[Tensor, 'b n']:
        """Return the minimised variables: compiled on the CPU, captured on CUDA, else in a plain loop."""
        compilable = start.device.type == 'cpu' and start.dtype in (torch.float32, torch.float64)
        if self._compiled and compilable and isinstance(inputs, CameraInputs | BodyInputs):
            return self._compiled.minimise(start, inputs, iterations, self._adam)
        if self.config.backend == 'compiled':
            raise ConfigError(
                f"The fit's back end 'compiled' takes float32 and float64 on the CPU, got {start.dtype} on "
                f"{start.device}. Choose 'eager' or 'auto'."
            )
        if not start.is_cuda:
            return minimise(energy, start, inputs, iterations, self._adam)
        key = (type(inputs), start.shape, start.dtype, start.device)
        if key not in self._captured:
            self._captured[key] = CapturedMinimiser(energy, start, inputs, self._adam)
        return self._captured[key](start, inputs, iterations)

    def _map_for(self, like: Tensor) -> PointMap:
        """Return the map on the device and in the type of `like`; moved there once."""
        if (self._map.mix.device, self._map.mix.dtype) != (like.device, like.dtype):
            self._map = self._map.to(like.device, like.dtype)
        return self._map


def _compiled_energies(
    body: HasSkeleton, here: PointMap, prior: MixturePrior, config: SmplifyConfig
) -> CompiledEnergies | None:
    """Return the compiled back end if it is wanted and can be had; refuse if it must and cannot."""
    ours, installed = isinstance(body, BodyModel), find_spec('numba') is not None
    if config.backend == 'compiled' and not (ours and installed):
        missing = 'numba, which is not installed' if ours else f'a BodyModel, got {type(body).__name__}'
        raise ConfigError(f"The fit's back end 'compiled' needs {missing}. Choose 'eager' or 'auto'.")
    if config.backend == 'eager' or not isinstance(body, BodyModel) or not installed:
        return None
    # Imported here because numba is slow to load and may be absent.
    from hwhup_core.fitting.compiled import CompiledEnergies

    return CompiledEnergies(body, here, prior, config)


def unpack(variable: Float[Tensor, 'b 82']) -> BodyParams:
    """Return the body of 72 axis-angle numbers (root first) and 10 betas."""
    rotations = axis_angle_to_matrix(variable[:, :72].unflatten(1, (24, 3)))
    return BodyParams(rotations[:, 0], rotations[:, 1:], variable[:, 72:])


def pack(params: BodyParams) -> Float[Tensor, 'b 82']:
    """Return 72 axis-angle numbers (root first) and 10 betas: a row of SPIN's fits."""
    rotations = torch.cat([params.global_rotation[:, None], params.joint_rotations], dim=1)
    return torch.cat([matrix_to_axis_angle(rotations).flatten(1), params.betas], dim=1)


def _from_far(moved: Float[Tensor, 'b 3'], pinhole: CropPinhole) -> Float[Tensor, 'b 3']:
    """Return the translations of x, y and far distance."""
    return torch.cat([moved[:, :2], energies.true_distance(moved[:, 2], pinhole)[:, None]], dim=1)


def _safe_pinhole(pinhole: CropPinhole | None, like: Float[Tensor, 'b 10']) -> tuple[CropPinhole, Bool[Tensor, ' b']]:
    """Return the cameras, SPIN's far one where none is given or it is no camera, and which are as they should be."""
    far = spin_pinholes(like)
    if pinhole is None:
        return far, torch.ones_like(far.focal, dtype=torch.bool)
    pinhole = pinhole.map(lambda tensor: tensor.detach().to(like))
    exists = pinhole.focal.isfinite() & (pinhole.focal > 0) & pinhole.center.isfinite().all(dim=1)
    focal = torch.where(exists, pinhole.focal, far.focal)
    return CropPinhole(focal, torch.where(exists[:, None], pinhole.center, far.center)), exists


def _safe_start(
    initial: Prediction, pinhole: CropPinhole
) -> tuple[BodyParams, Float[Tensor, 'b 3'], Bool[Tensor, ' b']]:
    """Return the guess, and where it can be used; elsewhere a T-pose as SPIN's camera sees it at 50 m."""
    params = initial.params
    translation = crop_translation(initial.camera, pinhole)
    numbers = torch.cat([params.global_rotation.flatten(1), params.joint_rotations.flatten(1), params.betas], dim=1)
    usable = numbers.isfinite().all(dim=1) & translation.isfinite().all(dim=1) & (translation[:, 2] > energies.NEAREST)
    identity = torch.eye(3).to(params.betas)
    rest = BodyParams(
        identity.expand_as(params.global_rotation),
        identity.expand_as(params.joint_rotations),
        torch.zeros_like(params.betas),
    )
    small = WeakPerspective(torch.full_like(pinhole.focal, HALF_CROPS_FOCAL / 50), torch.zeros_like(pinhole.center))
    translation = torch.where(usable[:, None], translation, crop_translation(small, pinhole))
    return choose_params(usable, params, rest), translation, usable


def choose_params(first: Bool[Tensor, ' b'], one: BodyParams, other: BodyParams) -> BodyParams:
    """Return `one` where `first`, else `other`."""
    return BodyParams(
        torch.where(first[:, None, None], one.global_rotation, other.global_rotation),
        torch.where(first[:, None, None, None], one.joint_rotations, other.joint_rotations),
        torch.where(first[:, None], one.betas, other.betas),
    )


def _torso_weights(
    confidence: Float[Tensor, 'b k'], finite: Bool[Tensor, 'b k'], here: PointMap, pull_hidden: bool
) -> Float[Tensor, 'b k']:
    """Return 1 for the joint that each of hips and shoulders is taken from, 0 for all others."""
    last = here.torso[:, -1].expand(len(confidence), -1)
    if pull_hidden:
        return torch.zeros_like(confidence).scatter_(1, last, 1.0) * finite
    visible = (confidence > 0)[:, here.torso]
    first = visible.int().argmax(dim=2, keepdim=True)
    chosen = here.torso.expand(len(confidence), -1, -1).gather(2, first).squeeze(2)
    return torch.zeros_like(confidence).scatter_(1, chosen, visible.any(dim=2).to(confidence))
