"""
Pools from the samples of any reader: weak labels from 2D joints and depth, true ones where a body is published.

Joints go by name onto a key point set. A frame without intrinsics has SPIN's far camera; train with `crop_camera` spin
then. A sample without depth that may supervise teaches by its 2D joints alone (COCO, MPII, SyRIP).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy.spatial.transform import Rotation

from hwhup_core.body.keypoint_sets import KEYPOINT_SETS, KeypointSet, keypoint_set, point_map
from hwhup_core.body.model import BodyModel
from hwhup_core.data.sample import BadSamples, Dataset, Sample, TrueBody
from hwhup_core.errors import AssetError, ConfigError, FrameError, HwhupError
from hwhup_core.fitting.camera import camera_from_points
from hwhup_core.fitting.energies import CENTER_PX
from hwhup_core.geometry.cameras import HALF_CROPS_FOCAL, project
from hwhup_core.geometry.proxies import Joints2D, Proxies
from hwhup_core.networks.packing import Modality
from hwhup_core.training.observe import (
    LIMBS,
    ObservationConfig,
    Seen,
    in_box,
    labels_of,
    see,
    true_labels,
    wide_box,
    wide_pictures,
)
from hwhup_core.training.pools import LabelledPool, Pictures, WeakPool, join_pools
from hwhup_core.types import BodyParams, CropPinhole, Frame, Intrinsics, PersonBox

P = TypeVar('P', LabelledPool, WeakPool)
FillVisibility = Callable[[Sample, Frame], Float[ndarray, ' k']]
"""How likely each joint of the data set is seen, 0 to 1: for joints of which the labels do not say."""
LEAST_SHARED = 8
"""Joints that a data set and a key point set must have in common."""
STILL_MARGIN = 1.2
"""Side of the crops that SPIN's camera stands before, in extents of the joints."""
_COLUMNS = {
    Modality.RGB: 'color', Modality.DEPTH: 'depth', Modality.INFRARED: 'infrared', Modality.PRESSURE: 'pressure',
}  # fmt: skip


def weak_pool_from_samples(
    dataset: Dataset,
    observation: ObservationConfig,
    modalities: Sequence[Modality] = (Modality.RGB,),
    keypoints: KeypointSet | None = None,
    fill_visibility: FillVisibility | None = None,
    bad: BadSamples | None = None,
) -> WeakPool:
    """
    Return the weak labels of all samples, on `keypoints` (None: the set that fits the data set's joints best).

    Where depth supervises, every labelled joint must be known to be seen or not: unknown flags are refused without
    `fill_visibility`. The first sample that cannot be used is an error, unless `bad` says to leave it out and count it.
    """
    chosen = keypoints or keypoints_for(dataset.joints)
    rows: dict[str, int] = {}

    def make(sample: Sample) -> WeakPool:
        part = _weak_sample(sample, dataset.joints, chosen, observation, modalities, fill_visibility)
        row = rows.setdefault(sample.fit_key or sample.name, len(rows))
        return replace(part, labels=replace(part.labels, rows=np.array([row])))

    return join_pools(_usable(dataset, make, bad))


def labelled_pool_from_samples(
    dataset: Dataset,
    body: BodyModel,
    observation: ObservationConfig,
    modalities: Sequence[Modality] = (Modality.RGB,),
    keypoints: KeypointSet | None = None,
    bad: BadSamples | None = None,
) -> LabelledPool:
    """
    Return the true labels of all samples, whose parameters must be `body`'s; 2D joints are the true body's.

    A body without a published translation is placed by its labelled 2D joints, least squares.
    """
    chosen = keypoints or keypoints_for(dataset.joints)

    def make(sample: Sample) -> LabelledPool:
        return _labelled_sample(sample, dataset.joints, chosen, body, observation, modalities)

    return join_pools(_usable(dataset, make, bad))


def keypoints_for(joints: Sequence[str]) -> KeypointSet:
    """Return the key point set that has most of these joints; SLP's and what is like it with head and pelvis."""
    best = max(KEYPOINT_SETS, key=lambda name: _fit(joints, keypoint_set(name)))
    shared = set(joints) & set(keypoint_set(best).joints)
    if len(shared) < LEAST_SHARED:
        raise ConfigError(
            f'Of the joints {", ".join(joints)} the key point set {best} has {len(shared)}, expected {LEAST_SHARED}. '
            'Name the joints as hwhup_core.body.joints does.'
        )
    return keypoint_set(best)


def _fit(joints: Sequence[str], keypoints: KeypointSet) -> tuple[int, int, int]:
    """Return how well a set fits: joints that both have, then those that can be made of them, then few others."""
    added = {'head', 'pelvis'} if {'thorax', 'head_top'} <= set(joints) else set()
    known = set(keypoints.joints)
    return len(set(joints) & known), len((set(joints) | added) & known), -len(known)


def far_camera(box: PersonBox, margin: float, width: int, height: int) -> Intrinsics:
    """
    Return SPIN's camera for a picture cut `margin` extents of the joints wide: before the middle of the box.

    A crop of `STILL_MARGIN` extents has its focal length of 5000 px in 224.
    """
    focal = HALF_CROPS_FOCAL * STILL_MARGIN / margin * box.side / 2
    return Intrinsics(focal, focal, box.center_x, box.center_y, width, height)


def _usable(dataset: Dataset, make: Callable[[Sample], P], bad: BadSamples | None) -> list[P]:
    """Return what is made of each sample; what cannot be used ends it, or is counted."""
    bad, parts = BadSamples() if bad is None else bad, []
    for sample in dataset:
        try:
            parts.append(make(sample))
        except (FrameError, AssetError, OSError) as error:
            problem = error if isinstance(error, HwhupError) else AssetError(str(error))
            if not bad.skip:
                raise HwhupError(f'{sample.name} cannot be used: {problem}') from error
            bad.add(sample.name, error.reason if isinstance(error, FrameError) else 'unreadable', problem)
    if not parts:
        first = (bad.messages or ['There are none.'])[0]
        raise HwhupError(f'None of the {len(dataset)} samples in {dataset.folder} can be used. {first}')
    return parts


def _weak_sample(
    sample: Sample,
    joints: Sequence[str],
    keypoints: KeypointSet,
    observation: ObservationConfig,
    modalities: Sequence[Modality],
    fill_visibility: FillVisibility | None,
) -> WeakPool:
    """Return the pool of one sample, in row 0."""
    frame = sample.load()
    depth = sample.supervision_depth() if sample.supervision_depth is not None else frame.depth
    pixels = _labelled_pixels(sample, joints)
    box = wide_box(pixels, observation.margin)
    height, width = _size(frame)
    camera = frame.intrinsics or far_camera(box, observation.margin, width, height)
    if depth is None:
        named = _on_set(joints, pixels, np.zeros(len(pixels), bool), keypoints, observation.proxy.head_ratio)
        labels = labels_of(_nothing_seen(named, height, width), named, box, 0, observation.picture)
    else:
        _require_measured(depth, frame, observation)
        visible = _visibility(sample, frame, fill_visibility)
        named = _on_set(joints, pixels, visible, keypoints, observation.proxy.head_ratio)
        seen = _see(depth, camera, named, np.random.default_rng(zlib.crc32(sample.name.encode())), observation)
        labels = labels_of(seen, named, box, 0, observation.picture)
        _require_teaching(labels.visibility.any(), labels.mask.any())
    pictures = _pictures(frame, camera, box, modalities, observation.picture)
    return WeakPool(pictures, labels, keypoints.joints, (sample.name,))


def _labelled_pixels(sample: Sample, joints: Sequence[str]) -> Float[ndarray, 'k 2']:
    """Return the 2D joints, NaN where there is no label."""
    if sample.keypoints is None:
        raise FrameError('no_joints', 'It has no 2D joints. Label it, or leave it out.')
    pixels = np.asarray(sample.keypoints.pixels, np.float64)
    if pixels.shape != (len(joints), 2):
        raise FrameError('wrong_joints', f'Its 2D joints are {pixels.shape}, expected {(len(joints), 2)}.')
    return np.where(sample.keypoints.labelled[:, None], pixels, np.nan)


def _visibility(sample: Sample, frame: Frame, fill: FillVisibility | None) -> Bool[ndarray, ' k']:
    """Return which joints of the data set are seen; unknown flags of labelled joints are filled, or refused."""
    keypoints = sample.keypoints
    assert keypoints is not None
    visible = np.asarray(keypoints.visible, np.float64)
    unknown = np.isnan(visible) & keypoints.labelled
    if unknown.any():
        if fill is None:
            raise FrameError(
                'no_visibility',
                f'The labels do not say whether {int(unknown.sum())} of its joints are seen, and an occluded one would '
                'be given the depth of what hides it. Label visibility, or have it filled (VisNet).',
            )
        visible = np.where(unknown, fill(sample, frame), visible)
    seen: ndarray = keypoints.labelled & (visible >= 0.5)
    return seen


def _on_set(
    joints: Sequence[str],
    pixels: Float[ndarray, 'k 2'],
    visible: Bool[ndarray, ' k'],
    keypoints: KeypointSet,
    head_ratio: float,
) -> Joints2D:
    """Return the joints of the set: by name; head and pelvis made of thorax, head top and hips where they lack."""
    found = {name: (pixels[place], bool(visible[place])) for place, name in enumerate(joints)}
    nowhere = np.full(2, np.nan), False
    if 'head' not in found and 'head' in keypoints.joints and {'thorax', 'head_top'} <= set(found):
        (neck, _), (top, seen) = found['thorax'], found['head_top']
        found['head'] = neck + head_ratio * (top - neck), seen
    if 'pelvis' not in found and 'pelvis' in keypoints.joints:
        (left, left_seen), (right, right_seen) = (found.get(f'{side}_hip', nowhere) for side in ('left', 'right'))
        found['pelvis'] = (left + right) / 2, left_seen and right_seen
    chosen = [found.get(name, nowhere) for name in keypoints.joints]
    return Joints2D(keypoints.joints, np.stack([place for place, _ in chosen]), np.array([seen for _, seen in chosen]))


def _see(
    depth: Float[ndarray, 'h w'],
    camera: Intrinsics,
    named: Joints2D,
    rng: np.random.Generator,
    observation: ObservationConfig,
) -> Seen:
    """Return what the depth shows; joints that the mask asks for and the set lacks have no label there."""
    ends = {name for limb in LIMBS for name in limb}
    lacking = tuple(sorted(ends - set(named.names)))
    count = len(named.names)
    whole = Joints2D(
        (*named.names, *lacking),
        np.concatenate([named.pixels, np.full((len(lacking), 2), np.nan)]),
        np.concatenate([named.visible, np.zeros(len(lacking), bool)]),
    )
    seen = see(depth, camera, whole, rng, observation)
    return replace(seen, proxies=Proxies(seen.proxies.points[:count], seen.proxies.visible[:count]))


def _nothing_seen(named: Joints2D, height: int, width: int) -> Seen:
    count = len(named.names)
    nothing = np.zeros((height, width), np.float32)
    return Seen(nothing, nothing > 0, Proxies(np.zeros((count, 3)), np.zeros(count, bool)))


def _size(frame: Frame) -> tuple[int, int]:
    """Return height and width of the frame, or refuse one without any picture."""
    for picture in (frame.color, frame.depth, frame.infrared, frame.pressure):
        if picture is not None:
            return picture.shape[0], picture.shape[1]
    raise FrameError('no_picture', 'The frame has no picture at all. Copy its files again, or leave it out.')


def _require_measured(depth: Float[ndarray, 'h w'], frame: Frame, observation: ObservationConfig) -> None:
    if frame.intrinsics is None:
        raise FrameError(
            'no_intrinsics',
            'It has depth but no camera, and without one depth gives no 3D points. Give its intrinsics.',
        )
    if depth.shape != _size(frame):
        raise FrameError(
            'wrong_size', f'The depth is {depth.shape}, the frame {_size(frame)}. Register one to the other.'
        )
    near, far = observation.cleaning.near, observation.cleaning.far
    if not ((depth > near) & (depth < far)).any():
        raise FrameError('no_depth', f'The depth has no measurement from {near} to {far} m. Is it in metres?')


def _require_teaching(visible: bool | np.bool_, masked: bool | np.bool_) -> None:
    if not visible:
        raise FrameError('no_visible_joint', 'No joint is labelled visible where depth was measured.')
    if not masked:
        raise FrameError('empty_mask', 'The depth shows no body where the visible joints are.')


def _pictures(frame: Frame, camera: Intrinsics, box: PersonBox, modalities: Sequence[Modality], size: int) -> Pictures:
    """Return the wide crops of what the network reads."""
    wanted = {_COLUMNS[modality] for modality in modalities}
    for name in wanted:
        if getattr(frame, name) is None:
            raise FrameError(f'missing_{name}', f'It has no {name} picture, which the network is to read.')
    kept = replace(
        frame,
        color=frame.color if 'color' in wanted else None,
        depth=frame.depth if 'depth' in wanted else None,
        infrared=frame.infrared if 'infrared' in wanted else None,
        pressure=frame.pressure if 'pressure' in wanted else None,
    )
    return wide_pictures(kept, camera, box, size)


def _labelled_sample(
    sample: Sample,
    joints: Sequence[str],
    keypoints: KeypointSet,
    body: BodyModel,
    observation: ObservationConfig,
    modalities: Sequence[Modality],
) -> LabelledPool:
    true, frame = sample.body, sample.load()
    if true is None:
        raise FrameError('no_body', 'No body is published for it. Use it with weak labels, or leave it out.')
    if true.gender != 'neutral':
        raise FrameError(
            'gender', f'Its numbers are those of a {true.gender} body; read as neutral they would be another shape.'
        )
    params = body_params(true)
    with torch.no_grad():
        skeleton = body.skeleton(params)
    points = torch.cat([skeleton.joints, skeleton.landmarks], dim=1)[0]
    points = point_map(keypoints, body.landmark_names).mix @ points
    labelled = _on_set(
        joints, _labelled_pixels(sample, joints), np.zeros(len(joints), bool), keypoints, observation.proxy.head_ratio
    )
    box = wide_box(labelled.pixels, observation.margin)
    height, width = _size(frame)
    camera = frame.intrinsics or far_camera(box, observation.margin, width, height)
    if true.translation is not None and frame.intrinsics is not None:
        translation = true.translation
    else:
        translation = placed_by_joints(points, labelled.pixels, camera, box)
    pixels = project(points.double().numpy() + translation, camera)
    labels = true_labels(
        params.global_rotation[0].numpy(), params.joint_rotations[0].numpy(), params.betas[0].numpy(), pixels, box
    )
    pictures = _pictures(frame, camera, box, modalities, observation.picture)
    return LabelledPool(pictures, labels, keypoints.joints, (sample.name,))


def body_params(true: TrueBody) -> BodyParams:
    """Return a published body as a batch of one."""
    rotations = torch.from_numpy(Rotation.from_rotvec(true.pose.reshape(24, 3)).as_matrix().astype(np.float32))
    betas = torch.from_numpy(np.asarray(true.betas, np.float32))
    return BodyParams(rotations[:1], rotations[None, 1:], betas[None])


def placed_by_joints(
    points: Float[torch.Tensor, 'k 3'], pixels: Float[ndarray, 'k 2'], camera: Intrinsics, box: PersonBox
) -> Float[ndarray, '3']:
    """Return the translation (m) that brings the points of a body nearest to their pixels (NaN: no label)."""
    known = np.isfinite(pixels).all(axis=1)
    principal = in_box(np.array([[camera.cx, camera.cy]]), box)
    pinhole = CropPinhole(
        torch.tensor([camera.fx / (box.side / 2)], dtype=torch.float32), torch.from_numpy(principal.astype(np.float32))
    )
    places = (in_box(np.where(known[:, None], pixels, (box.center_x, box.center_y)), box) + 1) * CENTER_PX
    keypoints, confidence = (torch.from_numpy(array.astype(np.float32))[None] for array in (places, known))
    translation, exists = camera_from_points(points[None], keypoints, confidence, pinhole)
    if not bool(exists[0]):
        raise FrameError('no_place', 'Its 2D joints do not say where the published body stands.')
    placed: ndarray = translation[0].double().numpy()
    return placed
