"""
Sets of 2D key points and what on the body stands for each of them, by name.

A source is a joint or landmark of the body. SPIN's regressed joints (`extra_*`) need a regressor that belongs to the
official SMPL topology; no body here carries it, so they have stand-ins. A joint for which nothing stands (H36M's spine
and jaw) is never fitted, whatever its confidence; in the mean of the score it counts as a joint without confidence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hwhup_core.body.joints import (
    COCO_17,
    H36M_17,
    MPII_16,
    OPENPOSE_18,
    OPENPOSE_25,
    SLP_14,
    SMPL_24,
    SPIN_24,
    SPIN_49,
    SPIN_49_SOURCES,
    index,
    indices,
)
from hwhup_core.errors import ConfigError

Torso = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class KeypointSet:
    """Named 2D key points and how the fit uses them."""

    name: str
    joints: tuple[str, ...]
    """Names, in the order of the key points."""
    sources: tuple[str, ...]
    """Joint or landmark of the body behind each, or a name in `STAND_INS`."""
    torso: Torso
    """Hips and shoulders of the camera stage; of several names for one the first visible is taken."""
    ignored: tuple[str, ...] = ()
    """Take no part in the body stage nor in any score."""
    placed_by: tuple[str, ...] | None = None
    """Joints that a stored fit's camera is solved from; None means all."""

    def __post_init__(self) -> None:
        used = (*self.ignored, *(self.placed_by or ()), *(name for choice in self.torso for name in choice))
        indices(self.joints, used)
        if len(self.sources) != len(self.joints):
            raise ConfigError(f'Set {self.name}: {len(self.sources)} sources for {len(self.joints)} joints.')


_TORSO: Torso = (('right_hip',), ('left_hip',), ('right_shoulder',), ('left_shoulder',))
_HIPS = ('right_hip', 'left_hip')
_MPII_EXTRA = {'upper_neck': 'extra_neck'} | {
    name: f'extra_{name}' for name in ('right_hip', 'left_hip', 'pelvis', 'thorax', 'head_top')
}
_OPENPOSE_SOURCES = dict(zip(OPENPOSE_25, SPIN_49_SOURCES))

KEYPOINT_SETS = {
    'spin_49': KeypointSet(
        name='spin_49',
        joints=SPIN_49,
        sources=SPIN_49_SOURCES,
        torso=tuple((f'op_{name}', f'gt_{name}') for (name,) in _TORSO),
        ignored=('op_neck', 'op_right_hip', 'op_left_hip', 'gt_right_hip', 'gt_left_hip'),
        placed_by=SPIN_49[25:],
    ),
    'coco_17': KeypointSet('coco_17', COCO_17, tuple(f'coco_{name}' for name in COCO_17), _TORSO),
    'slp_14': KeypointSet('slp_14', SLP_14, SLP_14, _TORSO),
    'slp_16': KeypointSet('slp_16', (*SLP_14, 'head', 'pelvis'), (*SLP_14, 'extra_head', 'pelvis'), _TORSO),
    'smpl_24': KeypointSet('smpl_24', SMPL_24, SMPL_24, _TORSO),
    'spin_24': KeypointSet('spin_24', SPIN_24, SPIN_49_SOURCES[25:], _TORSO, ignored=_HIPS),
    'mpii_16': KeypointSet('mpii_16', MPII_16, tuple(_MPII_EXTRA.get(name, name) for name in MPII_16), _TORSO),
    'h36m_17': KeypointSet('h36m_17', H36M_17, tuple(f'h36m_{name}' for name in H36M_17), _TORSO),
    'openpose_25': KeypointSet(
        'openpose_25', OPENPOSE_25, tuple(_OPENPOSE_SOURCES.values()), _TORSO, ignored=('neck', *_HIPS)
    ),
    'openpose_18': KeypointSet(
        'openpose_18', OPENPOSE_18, tuple(_OPENPOSE_SOURCES[name] for name in OPENPOSE_18), _TORSO,
        ignored=('neck', *_HIPS),
    ),
}  # fmt: skip
"""`spin_49`, `spin_24` and `openpose_*` are SPIN's, hips ignored as there; `coco_17` and `h36m_17` use the body's own
points where it has them (`regressors.py` adds Human3.6M's); `mpii_16` uses SPIN's regressed points, so its hips lie
outside SMPL's; `slp_14` and `smpl_24` take SMPL's joints; `slp_16` has the head and pelvis that `with_head_and_pelvis`
adds. Change what is ignored with `dataclasses.replace`."""

_HEAD_TOP = {'neck': -1.0, 'left_ear': 1.0, 'right_ear': 1.0}
_HEAD = {'neck': -0.6, 'left_ear': 0.8, 'right_ear': 0.8}

STAND_INS: Mapping[str, tuple[Mapping[str, float], ...]] = {
    **{f'coco_{name}': ({name: 1.0},) for name in COCO_17},
    **{f'extra_{side}_hip': ({f'coco_{side}_hip': 1.0}, {f'{side}_hip': 1.0}) for side in ('left', 'right')},
    'extra_neck': ({'neck': 1.0},),
    'extra_thorax': ({'neck': 1.0},),
    'thorax': ({'neck': 1.0},),
    'extra_pelvis': ({'pelvis': 1.0},),
    # The top of the head is about as far above the ears as the neck is below them: within 3 cm on the bundled bodies.
    'extra_head_top': (_HEAD_TOP,),
    'head_top': (_HEAD_TOP,),
    # Human3.6M's head: four fifths of the way from thorax to top.
    'extra_head': (_HEAD,),
    # Motion capture puts joints at their centres, as SMPL does.
    **{f'h36m_{name}': ({name: 1.0},) for name in H36M_17 if name in SMPL_24 and name != 'head'},
    'h36m_head': ({'extra_head': 1.0}, _HEAD),
    # These two rows are the same in both regressors.
    'h36m_spine': ({'extra_spine': 1.0},),
    'h36m_jaw': ({'extra_jaw': 1.0},),
}
"""Weighted sums of body points for sources that a body lacks; the first whose points are all there is taken."""


def keypoint_set(name: str) -> KeypointSet:
    """Return the set of that name."""
    if name not in KEYPOINT_SETS:
        raise ConfigError(f'No key point set {name!r}. There are: {", ".join(KEYPOINT_SETS)}.')
    return KEYPOINT_SETS[name]


def set_of_joints(joints: Sequence[str]) -> KeypointSet:
    """Return the set whose key points are these joints, in this order."""
    for known in KEYPOINT_SETS.values():
        if known.joints == tuple(joints):
            return known
    raise ConfigError(f'No key point set has the joints {", ".join(joints)}. There are: {", ".join(KEYPOINT_SETS)}.')


@dataclass(frozen=True)
class PointMap:
    """A key point set on one body: the tensors behind the names, on the body's device."""

    keypoints: KeypointSet
    mix: Float[Tensor, 'k p']
    """Key points from the body's p joints and landmarks."""
    fitted: Bool[Tensor, ' k']
    """Exists on the body and is not ignored."""
    placing: Bool[Tensor, ' k']
    """Part of the least squares camera: fitted, and in `placed_by`."""
    torso: Int[Tensor, '4 c']
    """Indices of the choices for each torso joint, the last one repeated where there are fewer."""

    def to(self, device: torch.device, dtype: torch.dtype) -> PointMap:
        """Return the map for tensors of that kind."""
        return PointMap(
            self.keypoints,
            self.mix.to(device, dtype),
            self.fitted.to(device),
            self.placing.to(device),
            self.torso.to(device),
        )


def point_map(keypoints: KeypointSet, landmark_names: Sequence[str]) -> PointMap:
    """Return the map from SMPL's 24 joints followed by these landmarks to the key points."""
    points = (*SMPL_24, *landmark_names)
    mix = torch.zeros(len(keypoints.joints), len(points))
    for row, source in enumerate(keypoints.sources):
        for point, weight in _behind(source, points).items():
            mix[row, index(point, points)] = weight
    fitted = mix.any(dim=1)
    fitted[indices(keypoints.joints, keypoints.ignored)] = False
    placing = torch.zeros_like(fitted)
    placing[indices(keypoints.joints, keypoints.placed_by or keypoints.joints)] = True
    most = max(len(choice) for choice in keypoints.torso)
    torso = [indices(keypoints.joints, (*choice, *choice[-1:] * (most - len(choice)))) for choice in keypoints.torso]
    return PointMap(keypoints, mix, fitted, placing & fitted, torch.tensor(torso))


def _behind(source: str, points: Sequence[str]) -> Mapping[str, float]:
    """Return the weights of the body points behind a source; empty where the body has nothing for it."""
    if source in points:
        return {source: 1.0}
    usable = [choice for choice in STAND_INS.get(source, ()) if all(point in points for point in choice)]
    return usable[0] if usable else {}
