"""A body before the camera and what a frame says about it: joints in the image, which of them are seen, its mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray

from hwhup_core.body.joints import SLP_14, SMPL_24
from hwhup_core.body.keypoint_sets import keypoint_set, point_map
from hwhup_core.body.model import BodyModel
from hwhup_core.geometry.cameras import project
from hwhup_core.geometry.rotations import axis_angle_to_matrix
from hwhup_core.inference.placement import Comparison, compare_depth
from hwhup_core.inference.visibility import flesh_radii, joint_visibility
from hwhup_core.labeling.surface import Surface
from hwhup_core.types import BodyEstimate, BodyParams, Intrinsics

SMPL_BEHIND = tuple(
    SMPL_24.index({'thorax': 'neck', 'head_top': 'head'}.get(name, name)) for name in SLP_14
)  # The SMPL joint whose flesh and confidence a labelled joint shares.
NEIGHBOURHOOD = 3
"""Pixels around a joint in a hole of the depth image that are asked instead."""
UP_TO_HOLES = 0.5
"""Share of these that must have been measured."""


@dataclass(frozen=True)
class PlacedBody:
    """A posed body, camera frame, metres."""

    vertices: Float[ndarray, 'v 3']
    joints: Float[ndarray, '24 3']
    points: Float[ndarray, '14 3']
    """The joints that are labelled, `SLP_14`, hips as SMPL's."""


class LabelledBody:
    """What does not change from frame to frame: faces, the map to the labelled joints, how thick the flesh is."""

    def __init__(self, body: BodyModel) -> None:
        self.body = body
        self.faces = body.faces.numpy()
        self.names = SLP_14
        self.mix = point_map(keypoint_set('slp_14'), body.landmark_names).mix
        identity = torch.eye(3)
        with torch.inference_mode():
            rest = body(BodyParams(identity[None], identity.expand(1, 23, 3, 3), torch.zeros(1, 10)))
        weights = body.skinning_weights.numpy()
        self.surface = Surface(rest.vertices[0].numpy(), self.faces, weights)
        radii = flesh_radii(rest.vertices[0].numpy(), rest.joints[0].numpy())
        self.radii: Float[ndarray, '14'] = radii[list(SMPL_BEHIND)]

    @torch.inference_mode()
    def placed_by(
        self,
        rotations: Float[ndarray, '24 3 3'],
        betas: Float[ndarray, '10'],
        root_position: Float[ndarray, '3'],
    ) -> PlacedBody:
        """Return the body in a pose (parent from joint, root first), its pelvis at `root_position`."""
        turned = torch.from_numpy(np.asarray(rotations, np.float32))[None]
        shape = torch.from_numpy(np.asarray(betas, np.float32))[None]
        posed = self.body(BodyParams(turned[:, 0], turned[:, 1:], shape))
        points = self.mix @ torch.cat([posed.joints, posed.landmarks], dim=1)[0]
        move = np.asarray(root_position - posed.joints[0, 0].numpy(), np.float32)
        return PlacedBody(*(each.numpy() + move for each in (posed.vertices[0], posed.joints[0], points)))

    def placed_as(self, estimate: BodyEstimate) -> PlacedBody:
        """Return the body of an estimate."""
        pose = torch.from_numpy(np.asarray(estimate.pose, np.float32).reshape(24, 3))
        return self.placed_by(axis_angle_to_matrix(pose).numpy(), estimate.betas, estimate.root_position)

    def compared(self, placed: PlacedBody, depth: Float[ndarray, 'h w'], intrinsics: Intrinsics) -> Comparison | None:
        """Return the rendered body beside the measured depth; None where no part of it is in the image."""
        return compare_depth(placed.vertices, self.faces, depth, intrinsics)

    def seen(
        self,
        placed: PlacedBody,
        depth: Float[ndarray, 'h w'],
        comparison: Comparison | None,
        intrinsics: Intrinsics,
    ) -> Float[ndarray, '14']:
        """
        Return 1 for labelled joints that the camera sees, 0 for those behind something measured or rendered, else NaN.

        A joint in a hole of the depth image is judged by the median of its neighbours.
        """
        pixels = project(placed.points, intrinsics)
        return joint_visibility(placed.points, pixels, self.radii, _without_holes(depth, pixels), comparison)


def _without_holes(depth: Float[ndarray, 'h w'], pixels: Float[ndarray, 'k 2']) -> Float[ndarray, 'h w']:
    """Return the depth with holes at these pixels filled where enough of their neighbours were measured."""
    height, width = depth.shape
    filled = depth
    for x, y in pixels[np.isfinite(pixels).all(axis=1)]:
        column, row = int(np.floor(x)), int(np.floor(y))
        if not (0 <= column < width and 0 <= row < height) or depth[row, column] > 0:
            continue
        near = depth[
            max(row - NEIGHBOURHOOD, 0) : row + NEIGHBOURHOOD + 1,
            max(column - NEIGHBOURHOOD, 0) : column + NEIGHBOURHOOD + 1,
        ]
        if (near > 0).mean() >= UP_TO_HOLES:
            filled = filled.copy() if filled is depth else filled
            filled[row, column] = np.median(near[near > 0])
    return filled


def inside_image(pixels: Float[ndarray, 'k 2'], intrinsics: Intrinsics) -> Bool[ndarray, ' k']:
    """Return which pixels lie in the image; NaN does not."""
    with np.errstate(invalid='ignore'):
        inside = ((pixels >= 0) & (pixels < (intrinsics.width, intrinsics.height))).all(axis=1)
    return np.asarray(inside)


def visible_mask(comparison: Comparison, shape: tuple[int, int], margin: float) -> UInt8[ndarray, 'h w']:
    """Return 255 where the body is rendered and the measured depth agrees within `margin` (m), else 0."""
    agrees = comparison.shared & (np.abs(comparison.rendered - comparison.observed) < margin)
    mask = np.zeros(shape, np.uint8)
    window = comparison.window
    mask[window.top : window.bottom, window.left : window.right] = 255 * agrees
    return mask
