"""
The body: pose and shape in, mesh, joints and landmarks out.

Linear blend skinning as in `smplx.SMPL` without translation (the pelvis stays where the shape puts it); written here
because smplx is licensed for non-commercial research only. The skeleton needs no mesh (`moments.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor, nn

from hwhup_core.assets import require_asset
from hwhup_core.body.files import OUR_VERTEX_ORDER, SMPL_VERTEX_ORDER, BodyFile, read_body_file
from hwhup_core.body.joints import PARENTS_24, SMPL_24, SMPLH_LANDMARKS
from hwhup_core.body.moments import fold
from hwhup_core.body.regressors import LandmarkRows, official_landmarks
from hwhup_core.errors import AssetError
from hwhup_core.types import Body, BodyParams, Skeleton

ASSETS = Path(__file__).parent / 'assets'
BUNDLED = ('adult', 'infant')
OFFICIAL = ('smpl_neutral', 'smpl_male', 'smpl_female', 'smil')
"""Bodies that `hwhup assets add` keeps."""


def load_body(name_or_path: str | Path) -> BodyModel:
    """
    Return the bundled body `adult` or `infant`, one of the assets folder (`OFFICIAL`), or that in an SMPL-layout file.

    A body with SMPL's vertices also gets SPIN's and Human3.6M's joints where the assets folder has their regressors.
    """
    name = str(name_or_path)
    if name in BUNDLED:
        return BodyModel(read_body_file(ASSETS / f'{name}.npz'))
    body = read_body_file(require_asset(name) if name in OFFICIAL else name_or_path)
    return BodyModel(body, official_landmarks(body))


def require_same_body(expected_id: str, expected_hash: str, body: BodyModel) -> None:
    """Refuse a checkpoint or fit that was made with another body: its betas and joints would mean something else."""
    if expected_hash != body.hash:
        raise AssetError(
            f'Made for body {expected_id!r} (hash {expected_hash[:12]}), but the body in use is {body.body_id!r} (hash '
            f'{body.hash[:12]}). Load body {expected_id!r}, or use a checkpoint or fits made with {body.body_id!r}.'
        )


class BodyModel(nn.Module):
    """A body in SMPL layout: 24 joints, 10 betas. Differentiable; `.to()` and `.double()` work as usual."""

    parents: tuple[int, ...] = PARENTS_24
    joint_names: tuple[str, ...] = SMPL_24
    _template: Tensor
    _shape_directions: Tensor
    _pose_directions: Tensor
    _weights: Tensor
    _faces: Tensor
    _joint_template: Tensor
    _joint_directions: Tensor
    _moment_joint: Tensor
    _moment_membership: Tensor
    _moment_mass: Tensor
    _moment_template: Tensor
    _moment_shape: Tensor
    _moment_pose: Tensor

    def __init__(self, body: BodyFile, more: LandmarkRows | None = None) -> None:
        """Make the model, with more landmarks than the file has where these are given."""
        super().__init__()
        self.body_id = body.body_id
        self.hash = body.hash
        self.licence = body.licence
        self.vertex_order = body.vertex_order
        names, regressor = landmark_regressor(body)
        if more is not None:
            names, regressor = (*names, *more.names), np.concatenate([regressor, more.rows])
        self.landmark_names: tuple[str, ...] = names
        """`nose`, `left_big_toe`, ... are vertices; `coco_nose`, `coco_left_hip`, ... the file's own key points;
        `extra_neck`, `h36m_head`, ... those of the official regressors."""
        moments = fold(body, regressor)
        vertices = len(body.template)
        joints = body.joint_regressor.astype(np.float64)
        # Vertices along the last axis, so that skinning runs over contiguous memory.
        self._keep('_template', body.template.T.reshape(-1))
        self._keep('_shape_directions', body.shape_directions.transpose(2, 1, 0).reshape(10, -1))
        self._has_pose_directions = body.pose_directions is not None
        if body.pose_directions is not None:
            self._keep('_pose_directions', body.pose_directions.transpose(2, 1, 0).reshape(-1, 3 * vertices))
        self._keep('_weights', body.weights.T)
        self._keep('_joint_template', joints @ body.template)
        self._keep('_joint_directions', np.einsum('jv,vcb->bjc', joints, body.shape_directions).reshape(10, -1))
        self._keep('_moment_membership', moments.membership)
        self._keep('_moment_mass', moments.mass)
        self._keep('_moment_template', moments.template.reshape(-1))
        self._keep('_moment_shape', moments.shape.reshape(10, -1))
        if self._has_pose_directions:
            self._keep('_moment_pose', moments.pose.reshape(len(moments.pose), -1))
        self.register_buffer('_moment_joint', torch.from_numpy(moments.joint), persistent=False)
        self.register_buffer('_faces', torch.from_numpy(body.faces), persistent=False)

    def _keep(self, name: str, array: ndarray) -> None:
        """Register a float32 buffer that stays out of checkpoints: they name the body by hash instead of holding it."""
        self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(array, np.float32)), persistent=False)

    @property
    def faces(self) -> Int[Tensor, 'f 3']:
        """Return the triangles (int64), counter-clockwise seen from outside."""
        return self._faces

    @property
    def rest_joints(self) -> Float[Tensor, '24 3']:
        """Return the joints of the mean body in T-pose, metres."""
        return self._joint_template

    @property
    def skinning_weights(self) -> Float[Tensor, '24 v']:
        """Return how much each vertex follows each joint; a vertex's weights sum to 1."""
        return self._weights

    def forward(self, params: BodyParams) -> Body:
        """Return mesh, joints and landmarks."""
        rotations, joints, offsets = self._chain(params)
        shaped = self._template + params.betas @ self._shape_directions
        if self._has_pose_directions:
            shaped = shaped + pose_features(params) @ self._pose_directions
        return Body(
            vertices=self._skin(shaped.unflatten(1, (3, -1)), rotations, offsets),
            joints=joints,
            landmarks=self._landmarks(params, rotations, offsets),
        )

    def skeleton(self, params: BodyParams) -> Skeleton:
        """Return joints and landmarks without making the mesh; equal to those of `forward`."""
        rotations, joints, offsets = self._chain(params)
        return Skeleton(joints=joints, landmarks=self._landmarks(params, rotations, offsets))

    def global_joint_rotations(self, params: BodyParams) -> Float[Tensor, 'b 24 3 3']:
        """Return the rotations camera from joint."""
        return self._chain(params)[0]

    def _chain(
        self, params: BodyParams
    ) -> tuple[Float[Tensor, 'b 24 3 3'], Float[Tensor, 'b 24 3'], Float[Tensor, 'b 24 3']]:
        """Return camera-from-joint rotations, joint positions, and the offsets t of v' = G v + t for each joint."""
        rest = self._joint_template + (params.betas @ self._joint_directions).unflatten(1, (24, 3))
        # One joint after the other: batched by tree level, torch 2.13 compiles silently wrong shape gradients.
        rotations = [params.global_rotation]
        positions = [rest[:, 0]]
        for joint, parent in enumerate(PARENTS_24[1:], start=1):
            bone = (rest[:, joint] - rest[:, parent]).unsqueeze(-1)
            positions.append(positions[parent] + (rotations[parent] @ bone).squeeze(-1))
            rotations.append(rotations[parent] @ params.joint_rotations[:, joint - 1])
        stacked = torch.stack(rotations, dim=1)
        joints = torch.stack(positions, dim=1)
        return stacked, joints, joints - (stacked @ rest.unsqueeze(-1)).squeeze(-1)

    def _skin(
        self, shaped: Float[Tensor, 'b 3 v'], rotations: Float[Tensor, 'b 24 3 3'], offsets: Float[Tensor, 'b 24 3']
    ) -> Float[Tensor, 'b v 3']:
        """Return the vertices moved by the weighted mean of the joints' motions."""
        motions = torch.cat([rotations, offsets.unsqueeze(-1)], dim=-1)
        blended = (motions.flatten(2).transpose(1, 2) @ self._weights).unflatten(1, (3, 4))
        moved = (blended[:, :, :3] * shaped.unsqueeze(1)).sum(dim=2) + blended[:, :, 3]
        vertices: Tensor = moved.transpose(1, 2).contiguous()
        return vertices

    def _landmarks(
        self, params: BodyParams, rotations: Float[Tensor, 'b 24 3 3'], offsets: Float[Tensor, 'b 24 3']
    ) -> Float[Tensor, 'b k 3']:
        """Return the landmarks from their moments."""
        moments = self._moment_template + params.betas @ self._moment_shape
        if self._has_pose_directions:
            moments = moments + pose_features(params) @ self._moment_pose
        turned = rotations.index_select(1, self._moment_joint) @ moments.unflatten(1, (-1, 3)).unsqueeze(-1)
        shifted = offsets.index_select(1, self._moment_joint) * self._moment_mass.unsqueeze(-1)
        landmarks: Tensor = self._moment_membership @ (turned.squeeze(-1) + shifted)
        return landmarks


def pose_features(params: BodyParams) -> Float[Tensor, 'b 207']:
    """Return the entries of R - I of the 23 child joints, row by row, that pose directions multiply."""
    identity = torch.eye(3, dtype=params.betas.dtype, device=params.betas.device)
    return (params.joint_rotations - identity).flatten(1)


def landmark_regressor(body: BodyFile) -> tuple[tuple[str, ...], Float[ndarray, 'k v']]:
    """
    Return names and rows of the landmarks: 21 surface vertices where the vertex order is known, then the key points.

    The key points of the file carry the prefix `coco_`, because COCO has a nose and eyes as well, a little elsewhere.
    """
    known = body.vertex_order in (SMPL_VERTEX_ORDER, OUR_VERTEX_ORDER)
    vertex_names: Sequence[str] = tuple(SMPLH_LANDMARKS) if known else ()
    surface = np.zeros((len(vertex_names), len(body.template)), np.float32)
    for row, name in enumerate(vertex_names):
        surface[row, SMPLH_LANDMARKS[name]] = 1
    if body.keypoint_regressor is None:
        return tuple(vertex_names), surface
    names = (*vertex_names, *(f'coco_{name}' for name in body.keypoint_names))
    return names, np.concatenate([surface, body.keypoint_regressor])
