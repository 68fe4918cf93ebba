"""The better of a new fit and the stored one, compared in the augmentation of the moment (method 2.5)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hwhup_core.body.mirror import mirror_params
from hwhup_core.fitting.camera import camera_from_points
from hwhup_core.fitting.fit_store import FitStore
from hwhup_core.fitting.smplify import Fit, Smplify, choose_params
from hwhup_core.geometry.rotations import axis_angle_to_matrix
from hwhup_core.types import BodyParams, CropPinhole, TensorRecord


@dataclass(frozen=True)
class Augmentation(TensorRecord):
    """
    What was done to each image: turned about its centre, then mirrored left to right.

    Shift and zoom do not matter here, since a stored fit gets its camera anew.
    """

    rotation: Float[Tensor, ' b']
    """Radians, from x (right) towards y (down)."""
    flip: Bool[Tensor, ' b']


def to_augmented(params: BodyParams, augmentation: Augmentation) -> BodyParams:
    """Return the bodies of the images as they lie on disk, seen in the augmented images."""
    turned = _turn(params, augmentation.rotation)
    return choose_params(augmentation.flip, mirror_params(turned), turned)


def from_augmented(params: BodyParams, augmentation: Augmentation) -> BodyParams:
    """Return the bodies of the augmented images, seen in the images as they lie on disk: un-flipped, then un-turned."""
    upright = choose_params(augmentation.flip, mirror_params(params), params)
    return _turn(upright, -augmentation.rotation)


def _turn(params: BodyParams, angle: Float[Tensor, ' b']) -> BodyParams:
    """Return the bodies turned about the optical axis."""
    zero = torch.zeros_like(angle)
    about_z = axis_angle_to_matrix(torch.stack([zero, zero, angle], dim=1))
    return replace(params, global_rotation=about_z.to(params.global_rotation) @ params.global_rotation)


def keep_best(
    store: FitStore,
    smplify: Smplify,
    new: Fit,
    keypoints: Float[Tensor, 'b k 3'],
    indices: Int[Tensor, ' b'],
    augmentation: Augmentation,
    pinhole: CropPinhole | None = None,
) -> Fit:
    """
    Return the better of the new and the stored fit of each image, and write the new ones that won to the store.

    Both are scored on the same (augmented) key points, before the camera `pinhole` that `new` was fitted with. The
    store takes a better fit even if it is not valid yet and whatever its betas; in the returned fits, which teach the
    network, exaggerated betas are put to 0.
    """
    old = stored_fit(store, smplify, keypoints, indices, augmentation, pinhole)
    won = new.score < old.score
    store.put(indices, from_augmented(new.params, augmentation), new.score, won)
    stays = old.score < new.score
    return without_exaggeration(
        Fit(
            params=choose_params(stays, old.params, new.params),
            translation=torch.where(stays[:, None], old.translation, new.translation),
            score=torch.where(stays, old.score, new.score),
            valid=torch.where(stays, old.valid, new.valid),
        ),
        smplify.config.largest_beta,
    )


def without_exaggeration(fit: Fit, largest_beta: float) -> Fit:
    """Return the fits with all ten betas at 0 wherever one of them is larger than `largest_beta`; scores stay."""
    exaggerated = (fit.params.betas.abs() > largest_beta).any(dim=1, keepdim=True)
    betas = torch.where(exaggerated, 0.0, fit.params.betas)
    return replace(fit, params=replace(fit.params, betas=betas))


def stored_fit(
    store: FitStore,
    smplify: Smplify,
    keypoints: Float[Tensor, 'b k 3'],
    indices: Int[Tensor, ' b'],
    augmentation: Augmentation,
    pinhole: CropPinhole | None = None,
) -> Fit:
    """Return the stored fits in the augmentation with their least squares cameras; never fitted ones score infinity."""
    stored, fitted = store.get(indices)
    params = to_augmented(stored.map(lambda tensor: tensor.to(keypoints)), augmentation)
    seen = smplify.observe(keypoints)
    with torch.no_grad():
        translation, exists = camera_from_points(smplify.points(params), seen.pixels, seen.placing, pinhole)
    usable = fitted.to(exists.device) & exists
    score = torch.where(usable, smplify.score(params, translation, seen, pinhole), torch.inf)
    return Fit(params, translation, score, score < smplify.config.threshold)
