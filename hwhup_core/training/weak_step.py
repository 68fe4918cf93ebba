"""
One step of weakly supervised adaptation: predict, OPT, OBS, the terms of equations 1 to 5.

What is on in which epoch is the stage's business (`stages.StageConfig`); this joins fitting, renderer and losses.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from hwhup_core.body.keypoint_sets import KeypointSet, PointMap, point_map
from hwhup_core.body.model import BodyModel
from hwhup_core.body.priors import MixturePrior
from hwhup_core.errors import ConfigError
from hwhup_core.fitting.best_fit import keep_best, stored_fit, without_exaggeration
from hwhup_core.fitting.fit_store import FitStore
from hwhup_core.fitting.smplify import Fit, Smplify
from hwhup_core.geometry.cameras import spin_pinhole, weak_perspective_project
from hwhup_core.training import losses
from hwhup_core.training import weak_losses as weak
from hwhup_core.training.batches import WeakBatch
from hwhup_core.training.loop import Term
from hwhup_core.training.stages import StageConfig
from hwhup_core.types import BodyParams, CropPinhole, Observation, Prediction

CROP_HALF_PX = 112.0
"""Half a crop in the fit's pixels."""


def predict(network: nn.Module, images: Float[Tensor, 'b 3 s s'], bfloat16: bool) -> Prediction:
    """Return the network's answer in float32, whatever its convolutions run in."""
    images = images.contiguous(memory_format=torch.channels_last)
    with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=bfloat16):
        prediction: Prediction = network(images)
    return prediction.map(lambda tensor: tensor.float())


@dataclass(frozen=True)
class Teachers:
    """What OPT needs: the optimiser and the best fits so far."""

    smplify: Smplify
    store: FitStore


def build_teachers(
    body: BodyModel, keypoints: KeypointSet, prior: MixturePrior, stage: StageConfig, store: FitStore
) -> Teachers:
    """Return the teachers of one adaptation; `store` may hold static fits already."""
    return Teachers(Smplify(body, keypoints, prior, stage.smplify), store)


class WeakStep:
    """The step of one adaptation: call it with network, batch and epoch. The only thing it changes is the fit store."""

    def __init__(
        self,
        body: BodyModel,
        keypoints: KeypointSet,
        stage: StageConfig,
        teachers: Teachers | None = None,
        bfloat16: bool = False,
    ) -> None:
        if stage.fits != 'off' and teachers is None:
            raise ConfigError(f"The stage takes its fits from '{stage.fits}', but was given no fit and no store.")
        self.body, self.keypoints, self.stage = body, keypoints, stage
        self.teachers, self.bfloat16 = teachers, bfloat16
        self._map: PointMap = point_map(keypoints, body.landmark_names)

    def __call__(self, network: nn.Module, batch: WeakBatch, epoch: int) -> dict[str, Term]:
        """Return the terms that are on in this epoch."""
        weights = self.stage.weights_at(epoch)
        prediction = predict(network, batch.images, self.bfloat16)
        pinhole = batch.pinhole if self.stage.crop_camera == 'true' else spin_pinhole(prediction.camera)
        observed = batch.observation
        count = torch.tensor(float(len(batch.images)), device=batch.images.device)
        points = self._points(prediction.params)
        projected = weak_perspective_project(points, prediction.camera, pinhole)
        ones = torch.ones(points.shape[1]).to(points)
        terms = {
            'keypoints': Term(
                weak.keypoint_term(projected, observed.keypoints, observed.confidence, ones), weights.keypoints, count
            ),
            'scale': Term(losses.scale_loss(prediction.camera.scale), weights.scale, count),
        }
        if weights.pose or weights.betas or weights.camera:
            terms |= self._fit_terms(prediction, batch, pinhole, epoch)
        if weights.proxies:
            terms['proxies'] = self._proxy_term(points, observed, weights.proxies)
        if weights.depth:
            terms['depth'] = self._depth_term(prediction, observed, pinhole, weights.depth)
        return {name: replace(term, weight=weights.overall * term.weight) for name, term in terms.items()}

    def _points(self, params: BodyParams) -> Float[Tensor, 'b k 3']:
        skeleton = self.body.skeleton(params)
        return self._map.mix.to(params.betas) @ torch.cat([skeleton.joints, skeleton.landmarks], dim=1)

    def _fit_terms(self, prediction: Prediction, batch: WeakBatch, pinhole: CropPinhole, epoch: int) -> dict[str, Term]:
        weights = self.stage.weights_at(epoch)
        fit = self.fits(prediction.detach(), batch, pinhole, epoch)
        count = fit.valid.sum().float()
        terms = {
            'pose': Term(weak.pose_term(prediction.params, fit.params, fit.valid), weights.pose, count),
            'betas': Term(weak.beta_term(prediction.params.betas, fit.params.betas, fit.valid), weights.betas, count),
        }
        if weights.camera:
            value = weak.camera_term(prediction.camera, fit.translation, fit.valid, pinhole)
            terms['camera'] = Term(value, weights.camera, count)
        return terms

    def fits(self, prediction: Prediction, batch: WeakBatch, pinhole: CropPinhole, epoch: int) -> Fit:
        """Return the fits that teach in this step: the stored ones, or in the loop the better of those and new ones."""
        assert self.teachers is not None
        smplify, store = self.teachers.smplify, self.teachers.store
        keypoints = crop_keypoints(batch.observation)
        if self.stage.fits == 'static':
            fit = stored_fit(store, smplify, keypoints, batch.rows, batch.augmentation, pinhole)
            return without_exaggeration(fit, smplify.config.largest_beta)
        new = smplify.fit(prediction, keypoints, self.stage.prior_weight_at(epoch), pinhole)
        return keep_best(store, smplify, new, keypoints, batch.rows, batch.augmentation, pinhole)

    def _proxy_term(self, points: Float[Tensor, 'b k 3'], observed: Observation, weight: float) -> Term:
        assert observed.proxies is not None
        seen = observed.visibility
        if self.stage.proxies == 'all':
            seen = weak.measured(observed.proxies) * (observed.confidence > 0)
        has_depth = seen.any(dim=1)
        value = weak.proxy_term(points, observed.proxies, seen, has_depth, self.keypoints.joints, self.stage.centring)
        return Term(value, weight, has_depth.sum().float())

    def _depth_term(self, prediction: Prediction, observed: Observation, pinhole: CropPinhole, weight: float) -> Term:
        assert observed.depth is not None
        vertices, mask = self.body(prediction.params).vertices, self._mask(observed)
        value, count = weak.counted_depth_term(
            vertices, self.body.faces, prediction.camera, observed.depth, mask, self.stage.depth_term, 'auto', pinhole
        )
        return Term(value, weight, count)

    def _mask(self, observed: Observation) -> Bool[Tensor, 'b s s']:
        assert observed.depth is not None
        if self.stage.body_mask == 'everything' or observed.mask is None:
            return torch.ones_like(observed.depth, dtype=torch.bool)
        return observed.mask


def crop_keypoints(observed: Observation) -> Float[Tensor, 'b k 3']:
    """Return the 2D joints as the fit reads them: pixels from 0 to 224 and confidence."""
    pixels = (observed.keypoints + 1) * CROP_HALF_PX
    return torch.cat([pixels, observed.confidence[..., None]], dim=2)
