"""
Pools of a synthetic domain, made in parallel: weak labels from what is sensed, true ones from what is kept apart.

The two never meet in one pool: who adapts is given a `WeakPool`; the truth of a target is for scores and the oracle.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from hwhup_core.body.joints import SLP_14
from hwhup_core.body.keypoint_sets import keypoint_set, point_map
from hwhup_core.body.model import BodyModel, load_body
from hwhup_core.geometry.cameras import project
from hwhup_core.geometry.crops import crop_depth, crop_image
from hwhup_core.geometry.proxies import Joints2D
from hwhup_core.networks.packing import picture_of_infrared, picture_of_pressure
from hwhup_core.synthetic.domain import Cover, DomainConfig, PoseTruth, Sensed, SensedPose
from hwhup_core.synthetic.subjects import subject_poses
from hwhup_core.training.observe import (
    ObservationConfig,
    stored_depth,
    true_labels,
    weak_labels,
    wide_box,
    wide_pictures,
)
from hwhup_core.training.parallel import in_parallel
from hwhup_core.training.pools import LabelledPool, WeakPool, join_pools
from hwhup_core.types import BodyParams, Frame, PersonBox

JOINTS = 'slp_16'
"""Key point set of all pools made here."""


@dataclass(frozen=True)
class TestPool:
    """Held-out people: what is scored, beside the truth it is scored against."""

    weak: WeakPool
    """Its mask is the true one of the visible body, its depth the exact one without cover."""
    truth: LabelledPool
    postures: Int[ndarray, ' n']
    """`Posture` numbers."""


def sensed_frame(sensed: Sensed, pose: SensedPose) -> Frame:
    """Return one cover's pictures as the frame that a network would be given live."""
    infrared, pressure = sensed.infrared, sensed.pressure
    return Frame(
        stamp_ns=1,
        frame_id='synthetic',
        color=sensed.color,
        depth=sensed.depth,
        infrared=None if infrared is None else picture_of_infrared(infrared),
        pressure=None if pressure is None else picture_of_pressure(pressure),
        intrinsics=pose.intrinsics,
    )


def weak_pool_of(pose: SensedPose, row: int, seed: int, config: ObservationConfig) -> WeakPool:
    """Return the samples of one pose, one a cover; they share depth, labels and the row of the fit store."""
    box = wide_box(pose.pixels, config.margin)
    joints = Joints2D(SLP_14, pose.pixels, ~pose.occluded)
    depth = pose.covers[Cover.NONE].depth
    assert depth is not None
    rng = np.random.default_rng((seed, pose.subject, pose.number))
    labels, names = weak_labels(depth, pose.intrinsics, joints, box, row, rng, config)
    return join_pools([
        WeakPool(
            wide_pictures(sensed_frame(sensed, pose), pose.intrinsics, box, config.picture),
            labels,
            names,
            (f'{pose.subject:05d}/{cover.value}/{pose.number:06d}',),
        )
        for cover, sensed in pose.covers.items()
    ])  # fmt: skip


def true_pool_of(pose: SensedPose, truth: PoseTruth, body: BodyModel, config: ObservationConfig) -> LabelledPool:
    """Return the same samples with exact labels: same pictures, same boxes."""
    box = wide_box(pose.pixels, config.margin)
    pixels = project(named_joints(truth, body), pose.intrinsics)
    labels = true_labels(truth.global_rotation, truth.joint_rotations, truth.betas, pixels, box)
    return join_pools([
        LabelledPool(
            wide_pictures(sensed_frame(sensed, pose), pose.intrinsics, box, config.picture),
            labels,
            keypoint_set(JOINTS).joints,
            (f'{pose.subject:05d}/{cover.value}/{pose.number:06d}',),
        )
        for cover, sensed in pose.covers.items()
    ])  # fmt: skip


def test_pool_of(
    pose: SensedPose, truth: PoseTruth, body: BodyModel, row: int, seed: int, config: ObservationConfig
) -> TestPool:
    """Return the samples of one held-out pose; mask and depth to score against are exact."""
    weak = weak_pool_of(pose, row, seed, config)
    box = wide_box(pose.pixels, config.margin)
    exact = _exact(truth, box, config.picture)
    count = len(weak)
    labels = replace(
        weak.labels,
        depth=np.repeat(stored_depth(exact[0])[None], count, axis=0),
        mask=np.repeat(exact[1][None], count, axis=0),
    )
    held_out = WeakPool(weak.pictures, labels, weak.joints, weak.names)
    return TestPool(held_out, true_pool_of(pose, truth, body, config), np.full(count, int(truth.posture)))


def _exact(truth: PoseTruth, box: PersonBox, size: int) -> tuple[Float[ndarray, 's s'], Bool[ndarray, 's s']]:
    return crop_depth(truth.depth, box, size), crop_image(truth.mask.astype(np.float32), box, size) > 0.5


def named_joints(truth: PoseTruth, body: BodyModel, names: str = JOINTS) -> Float[ndarray, 'k 3']:
    """Return the true 3D joints of a key point set in the camera frame, metres."""
    params = BodyParams(*(
        torch.from_numpy(np.asarray(array, np.float32))[None]
        for array in (truth.global_rotation, truth.joint_rotations, truth.betas)
    ))  # fmt: skip
    with torch.no_grad():
        skeleton = body.skeleton(params)
    points = torch.cat([skeleton.joints, skeleton.landmarks], dim=1)[0]
    joints: ndarray = (point_map(keypoint_set(names), body.landmark_names).mix @ points).numpy()
    placed: ndarray = joints + truth.translation
    return placed


def weak_pool(domain: DomainConfig, seed: int, subjects: Sequence[int], config: ObservationConfig) -> WeakPool:
    """Return the weak labels of some subjects of a domain; nothing exact is in it."""
    return join_pools(in_parallel(partial(_weak_subject, domain, seed, config), list(enumerate(subjects)), 'observe'))


def labelled_pool(domain: DomainConfig, seed: int, subjects: Sequence[int], config: ObservationConfig) -> LabelledPool:
    """Return the exact labels of some subjects: of a source domain, or for the oracle."""
    return join_pools(in_parallel(partial(_true_subject, domain, seed, config), list(subjects), 'label'))


def test_pool(domain: DomainConfig, seed: int, subjects: Sequence[int], config: ObservationConfig) -> TestPool:
    """Return held-out subjects with what they are scored against."""
    parts = in_parallel(partial(_test_subject, domain, seed, config), list(enumerate(subjects)), 'hold out')
    return _join_test(parts)


def _join_test(parts: Sequence[TestPool]) -> TestPool:
    weak, truth = join_pools([part.weak for part in parts]), join_pools([part.truth for part in parts])
    return TestPool(weak, truth, np.concatenate([part.postures for part in parts]))


def _poses(domain: DomainConfig, seed: int, subject: int) -> tuple[BodyModel, Iterator[tuple[SensedPose, PoseTruth]]]:
    torch.set_num_threads(1)
    body = load_body(domain.body)
    return body, subject_poses(domain, body, seed, subject)


def _weak_subject(domain: DomainConfig, seed: int, config: ObservationConfig, task: tuple[int, int]) -> WeakPool:
    place, subject = task
    _, poses = _poses(domain, seed, subject)
    return join_pools([
        weak_pool_of(pose, place * domain.poses + pose.number - 1, seed, config) for pose, _ in poses
    ])  # fmt: skip


def _true_subject(domain: DomainConfig, seed: int, config: ObservationConfig, subject: int) -> LabelledPool:
    body, poses = _poses(domain, seed, subject)
    return join_pools([true_pool_of(pose, truth, body, config) for pose, truth in poses])


def _test_subject(domain: DomainConfig, seed: int, config: ObservationConfig, task: tuple[int, int]) -> TestPool:
    place, subject = task
    body, poses = _poses(domain, seed, subject)
    parts = [
        test_pool_of(pose, truth, body, place * domain.poses + pose.number - 1, seed, config) for pose, truth in poses
    ]
    return _join_test(parts)
