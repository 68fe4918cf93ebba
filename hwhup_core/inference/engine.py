"""One frame in, the people in it out: boxes, network, body, metric placement and self-checks."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from hwhup_core import networks
from hwhup_core.body.model import BodyModel, load_body
from hwhup_core.body.posing import joint_orientations, posed_vertices
from hwhup_core.errors import ConfigError
from hwhup_core.geometry.cameras import metric_translation, project, weak_perspective_project
from hwhup_core.geometry.rotations import matrix_to_axis_angle
from hwhup_core.inference.config import EngineConfig
from hwhup_core.inference.flip import mean_prediction, mirror_prediction, turn_prediction
from hwhup_core.inference.frames import check_frame
from hwhup_core.inference.people import box_of_joints, check_given_box, region_box
from hwhup_core.inference.placement import Placement, is_flat_box, place_by_depth
from hwhup_core.inference.posture import classify_posture
from hwhup_core.inference.sight import Sight, joint_chances, visnet_for
from hwhup_core.inference.uncertainty import (
    GOOD_DISTANCE,
    joint_sigma,
    probability_within,
    read_calibration,
    read_extents,
)
from hwhup_core.inference.visibility import flesh_radii, joint_visibility
from hwhup_core.networks.checkpoint import Loaded, load_checkpoint
from hwhup_core.networks.fusion import fuse
from hwhup_core.networks.mean import prediction_from_numbers
from hwhup_core.networks.packing import crop_to_input
from hwhup_core.types import (
    BodyEstimate,
    BodyParams,
    Frame,
    Intrinsics,
    PersonBox,
    Posture,
    Prediction,
    State,
)

BUNDLED_WEIGHTS = Path(networks.__file__).parent / 'assets'


HEADINGS = (0.0, math.pi / 2, math.pi, -math.pi / 2)
"""Turns, radians, at which a new person is looked for: the first look at a frame knows no heading."""


@dataclass(frozen=True)
class Regressed:
    """What the network says about one box, on the CPU, batch of one."""

    box: PersonBox
    prediction: Prediction
    crop_pixels: Float[ndarray, '24 2']
    """Image pixels of the joints by the crop's weak-perspective camera."""
    disagreement: Float[ndarray, '24'] | None
    """Distance (m) between the joints of the estimate and of its mirror twin, pelvis on pelvis; None without twin."""
    wide: bool = False
    """Whether the box was a guess from outside, not one made around an estimate."""


@dataclass(frozen=True)
class Posed:
    """A body in front of the real camera, camera frame, metres."""

    vertices: Float[ndarray, 'v 3'] | None
    """None where the mesh was not needed."""
    joints: Float[ndarray, '24 3']
    placement: Placement


class Engine:
    """Estimates bodies frame by frame; it remembers only where the followed person was."""

    @torch.inference_mode()
    def __init__(self, loaded: Loaded, body: BodyModel, config: EngineConfig) -> None:
        torch.set_num_threads(config.threads)
        self.loaded = loaded
        self.body = body.to('cpu').eval()
        self.config = config
        self._device = _choose_device(config.device)
        self._network = fuse(loaded.model).to(self._device)
        visnet = visnet_for(config.visnet, loaded.card.input)
        self._sight = None if visnet is None else Sight(visnet, self._device, loaded.card.input)
        self._calibration = read_calibration(loaded.card.calibration)
        self._extents = read_extents(loaded.card.calibration)
        self._faces = self.body.faces.numpy()
        rest = self.body(_rest_params())
        self._radii = flesh_radii(rest.vertices[0].numpy(), rest.joints[0].numpy())
        self._vertex_count = rest.vertices.shape[1]
        self._previous: PersonBox | None = None
        self._meshes: list[tuple[BodyEstimate, Float[ndarray, 'v 3']]] = []

    def reset(self) -> None:
        """Forget where the followed person was."""
        self._previous = None

    def take_over(self, other: Engine) -> None:
        """Follow the person whom another engine followed, so that nobody has to be looked for anew."""
        self._previous = other._previous

    @torch.inference_mode()
    def __call__(self, frame: Frame, boxes: list[PersonBox] | None = None) -> list[BodyEstimate]:
        """
        Return an estimate for each given box, or for the one person that is followed from frame to frame.

        Raises `FrameError` for a frame that cannot be used; the engine stays usable.
        """
        intrinsics = check_frame(frame, self.loaded.card.input.modalities)
        self._meshes = []
        if boxes is None:
            return [self._follow(frame, intrinsics)]
        for box in boxes:
            check_given_box(box, intrinsics.width, intrinsics.height)
        return [
            self._estimate(frame, intrinsics, self._look_around(frame, intrinsics, box), self._subject(index))
            for index, box in enumerate(boxes[: self.config.max_people])
        ]

    def vertices(self, estimate: BodyEstimate) -> Float[ndarray, 'v 3']:
        """Return the mesh of an estimate, camera frame, metres; NaN where nobody was found."""
        for known, vertices in self._meshes:
            if known is estimate:
                return vertices
        if estimate.state == State.NO_PERSON:
            return np.full((self._vertex_count, 3), np.nan)
        return posed_vertices(self.body, estimate)

    @torch.inference_mode()
    def mean_pose_estimate(self, frame: Frame, box: PersonBox) -> BodyEstimate:
        """Return how the body of the network's mean parameters would stand in the box: the baseline of every report."""
        intrinsics = check_frame(frame, ())
        model = self.loaded.model
        prediction = prediction_from_numbers(model.init_pose, model.init_shape, model.init_cam).to('cpu')
        regressed = self._regressed(box, prediction, self.body.skeleton(prediction.params).joints, None)
        posed = self._place(frame, intrinsics, regressed)
        return self._describe(frame, intrinsics, regressed, posed, self.config.subject_id)

    def _follow(self, frame: Frame, intrinsics: Intrinsics) -> BodyEstimate:
        """Return the followed person; after a loss the search starts from the region again."""
        previous, self._previous = self._previous, None  # Forgotten unless this frame ends well.
        regressed = self._regress(frame, previous) if previous else self._search(frame, intrinsics)
        estimate = self._estimate(frame, intrinsics, regressed, self.config.subject_id)
        if estimate.state == State.ESTIMATED:
            self._previous = self._box_of(regressed, intrinsics)
        return estimate

    def _search(self, frame: Frame, intrinsics: Intrinsics) -> Regressed:
        """Return the most plausible estimate of those that start in the region, turned to each of four headings."""
        region = region_box(self.config.region, intrinsics.width, intrinsics.height)
        found = [self._close_in(frame, intrinsics, replace(region, turn=turn)) for turn in HEADINGS]
        return self._most_plausible(frame, intrinsics, found)

    def _close_in(self, frame: Frame, intrinsics: Intrinsics, start: PersonBox) -> Regressed:
        """Return the estimate after the box was made anew around the joints, while that stays plausible."""
        regressed = self._regress(frame, start, wide=True)
        for _ in range(self.config.refine_first):
            box = self._box_of(regressed, intrinsics)
            if box is None:
                break
            regressed = self._regress(frame, box)
        return regressed

    def _look_around(self, frame: Frame, intrinsics: Intrinsics, box: PersonBox) -> Regressed:
        """Return the most plausible estimate in a given box, which is turned but neither moved nor resized."""
        found = []
        for turn in HEADINGS:
            first = self._regress(frame, replace(box, turn=box.turn + turn))
            upright = self._box_of(first, intrinsics)
            found.append(first if upright is None else self._regress(frame, replace(box, turn=upright.turn)))
        return self._most_plausible(frame, intrinsics, found)

    def _most_plausible(self, frame: Frame, intrinsics: Intrinsics, found: list[Regressed]) -> Regressed:
        """Return the estimate that agrees best with its mirror image and with the depth, by the product of both."""

        def doubt(regressed: Regressed) -> float:
            disagreement = 1.0 if regressed.disagreement is None else float(regressed.disagreement.mean())
            error = self._place(frame, intrinsics, regressed).placement.aligned_depth_error
            return disagreement * (error if math.isfinite(error) else 1.0)

        return min(found, key=doubt)

    def _box_of(self, regressed: Regressed, intrinsics: Intrinsics) -> PersonBox | None:
        """Return the box for the next look; what the network is known to see too small is made up for."""
        extent = self._extents[0 if regressed.wide else 1]
        margin = self.config.box_margin / extent
        return box_of_joints(regressed.crop_pixels, margin, intrinsics.width, intrinsics.height)

    def _subject(self, index: int) -> str:
        return self.config.subject_id if index == 0 else f'{self.config.subject_id}_{index + 1}'

    def _regress(self, frame: Frame, box: PersonBox, wide: bool = False) -> Regressed:
        """Run the network on the box (and its mirror image), turn back and average what it says."""
        image = torch.from_numpy(crop_to_input(frame, box, self.loaded.card.input))[None]
        if not self.config.flip_test:
            prediction = self._turned_back(self._network(image.to(self._device)).to('cpu'), box)
            joints = self.body.skeleton(prediction.params).joints
            return replace(self._regressed(box, prediction, joints, None), wide=wide)
        both = self._network(torch.cat([image, image.flip(3)]).to(self._device)).to('cpu')
        straight = self._turned_back(both[:1], box)
        mirrored = self._turned_back(mirror_prediction(both[1:]), box)
        prediction = mean_prediction(straight, mirrored)
        joints = self.body.skeleton(_stack(prediction.params, straight.params, mirrored.params)).joints
        rooted = (joints - joints[:, :1]).numpy()
        disagreement = np.linalg.norm(rooted[1] - rooted[2], axis=1)
        return replace(self._regressed(box, prediction, joints[:1], disagreement), wide=wide)

    def _turned_back(self, prediction: Prediction, box: PersonBox) -> Prediction:
        """Return the prediction for the image as it is, from that for the turned box."""
        if not box.turn:
            return prediction
        pelvis = self.body.skeleton(prediction.params).joints[:, 0]
        return turn_prediction(prediction, pelvis, -box.turn)

    def _regressed(
        self,
        box: PersonBox,
        prediction: Prediction,
        joints: Float[Tensor, '1 24 3'],
        disagreement: Float[ndarray, '24'] | None,
    ) -> Regressed:
        in_crop = weak_perspective_project(joints, prediction.camera)[0].numpy().astype(np.float64)
        pixels = in_crop * (box.side / 2) + (box.center_x, box.center_y)
        return Regressed(box, prediction, pixels, disagreement)

    def _estimate(self, frame: Frame, intrinsics: Intrinsics, regressed: Regressed, subject_id: str) -> BodyEstimate:
        """Place the body in front of the real camera, check it, and write down everything."""
        if regressed.prediction.camera.scale[0] <= 0:  # A body of no size: nothing that the network knows is there.
            return self._nobody(frame, regressed.box, subject_id)
        posed = self._place(frame, intrinsics, regressed)
        placement = posed.placement
        flat = placement.flat
        if frame.depth is not None and math.isnan(placement.aligned_depth_error):
            flat = is_flat_box(frame.depth, regressed.box, intrinsics)
        if flat or not np.isfinite(placement.translation).all():
            return self._nobody(frame, regressed.box, subject_id)
        return self._describe(frame, intrinsics, regressed, posed, subject_id)

    def _place(self, frame: Frame, intrinsics: Intrinsics, regressed: Regressed) -> Posed:
        """Pose the body and find where it stands; the mesh is made only where depth needs it."""
        params, camera = regressed.prediction.params, regressed.prediction.camera
        shift = camera.shift[0].numpy().astype(np.float64)
        start = metric_translation(float(camera.scale[0]), shift, regressed.box, intrinsics)
        if frame.depth is None:
            joints = self.body.skeleton(params).joints[0].numpy()
            return Posed(None, joints + start, Placement(start, math.nan, False, None))
        body = self.body(params)
        vertices, joints = body.vertices[0].numpy(), body.joints[0].numpy()
        placement = place_by_depth(vertices, self._faces, start, frame.depth, intrinsics)
        return Posed(vertices + placement.translation, joints + placement.translation, placement)

    def _describe(
        self,
        frame: Frame,
        intrinsics: Intrinsics,
        regressed: Regressed,
        posed: Posed,
        subject_id: str,
    ) -> BodyEstimate:
        """Return the estimate with every field, and keep its mesh."""
        params, camera = regressed.prediction.params, regressed.prediction.camera
        joints, placement = posed.joints, posed.placement
        rotations = torch.cat([params.global_rotation[:, None], params.joint_rotations], dim=1)[0]
        orientations = joint_orientations(rotations.numpy(), self.body.parents)
        pixels = project(joints, intrinsics)
        sigma = joint_sigma(regressed.disagreement, self._calibration)
        joint_confidence = probability_within(GOOD_DISTANCE, sigma)
        confidence = float(joint_confidence.mean())
        visibility = np.full(24, np.nan)
        if frame.depth is not None:
            visibility = joint_visibility(joints, pixels, self._radii, frame.depth, placement.comparison)
        if self._sight is not None:
            visibility = joint_chances(self._sight(frame, regressed.box), visibility)
        estimate = BodyEstimate(
            stamp_ns=frame.stamp_ns,
            frame_id=frame.frame_id,
            subject_id=subject_id,
            state=self._state(confidence, placement.aligned_depth_error, frame.depth is not None),
            confidence=confidence,
            body_id=self.body.body_id,
            body_hash=self.body.hash,
            weights_hash=self.loaded.card.weights_hash,
            betas=params.betas[0].numpy().astype(np.float64),
            pose=matrix_to_axis_angle(rotations).numpy().astype(np.float64).reshape(72),
            root_position=joints[0],
            root_orientation=orientations[0],
            joint_positions=joints,
            joint_orientations=orientations,
            joint_pixels=pixels,
            joint_visibility=visibility,
            joint_confidence=joint_confidence,
            joint_sigma=sigma,
            box=regressed.box,
            camera=np.array([float(camera.scale[0]), float(camera.shift[0, 0]), float(camera.shift[0, 1])]),
            posture=classify_posture(joints, self.config.up_in_camera),
            aligned_depth_error=placement.aligned_depth_error,
        )
        if posed.vertices is not None:
            self._meshes.append((estimate, posed.vertices))
        return estimate

    def _state(self, confidence: float, aligned_depth_error: float, has_depth: bool) -> State:
        """Return how far to trust an estimate; depth that says nothing about the body is a doubt, no depth is none."""
        agrees = aligned_depth_error <= self.config.max_aligned_depth_error_m if has_depth else True
        return State.ESTIMATED if agrees and not confidence < self.config.min_confidence else State.LOW_CONFIDENCE

    def _nobody(self, frame: Frame, box: PersonBox, subject_id: str) -> BodyEstimate:
        """Return the answer for a box without a person: every number is NaN."""

        def unknown(*shape: int) -> ndarray:
            return np.full(shape, np.nan)

        return BodyEstimate(
            stamp_ns=frame.stamp_ns,
            frame_id=frame.frame_id,
            subject_id=subject_id,
            state=State.NO_PERSON,
            confidence=math.nan,
            body_id=self.body.body_id,
            body_hash=self.body.hash,
            weights_hash=self.loaded.card.weights_hash,
            betas=unknown(10),
            pose=unknown(72),
            root_position=unknown(3),
            root_orientation=unknown(4),
            joint_positions=unknown(24, 3),
            joint_orientations=unknown(24, 4),
            joint_pixels=unknown(24, 2),
            joint_visibility=unknown(24),
            joint_confidence=unknown(24),
            joint_sigma=unknown(24),
            box=box,
            camera=unknown(3),
            posture=Posture.UNKNOWN,
            aligned_depth_error=math.nan,
        )


def build_engine(config: EngineConfig) -> Engine:
    """Return the engine with the weights and the body that `config` names; the body must be the one of the weights."""
    body = load_body(config.body)
    return Engine(load_checkpoint(weights_path(config.weights), body), body, config)


def weights_path(name_or_path: str) -> Path:
    """Return the path of bundled weights by their name, or the path itself."""
    bundled = BUNDLED_WEIGHTS / f'{name_or_path}.json'
    return bundled if bundled.is_file() else Path(name_or_path)


def _rest_params() -> BodyParams:
    identity = torch.eye(3)
    return BodyParams(identity[None], identity.expand(1, 23, 3, 3), torch.zeros(1, 10))


def _stack(*params: BodyParams) -> BodyParams:
    return BodyParams(
        torch.cat([each.global_rotation for each in params]),
        torch.cat([each.joint_rotations for each in params]),
        torch.cat([each.betas for each in params]),
    )


def _choose_device(name: str) -> torch.device:
    if name == 'cuda' and not torch.cuda.is_available():
        raise ConfigError('device is cuda, but torch finds no CUDA device. Choose cpu or auto.')
    use_cuda = name != 'cpu' and torch.cuda.is_available()
    return torch.device('cuda' if use_cuda else 'cpu')
