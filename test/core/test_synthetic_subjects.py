"""The people of domains: the same whoever asks, labelled in the right places, true where the truth says."""

from dataclasses import replace

import numpy as np
import pytest

from hwhup_core.body.joints import SLP_14
from hwhup_core.body.model import load_body
from hwhup_core.geometry.cameras import project
from hwhup_core.geometry.depth import unproject
from hwhup_core.synthetic.domain import Cover, DomainConfig
from hwhup_core.synthetic.subjects import subject_poses
from hwhup_core.types import Posture

COVERED = DomainConfig(
    kind='bed', poses=6, size=96, covers=tuple(Cover), modalities=('depth', 'color', 'infrared', 'pressure')
)
CONFIGS = {
    'bed': COVERED,
    'crib': replace(COVERED, kind='crib', body='infant'),
    'room': replace(COVERED, kind='room', covers=(Cover.NONE,), modalities=('depth', 'color', 'infrared')),
}


@pytest.fixture(scope='module')
def bodies():
    return {name: load_body(name) for name in ('adult', 'infant')}


@pytest.fixture(scope='module')
def people(bodies):
    """Return all poses of one subject of each kind."""
    return {
        kind: list(subject_poses(config, bodies[config.body], 0, 3)) for kind, config in CONFIGS.items()
    }  # fmt: skip


def test_a_subject_depends_on_nothing_but_its_numbers(bodies, people):
    again = list(subject_poses(CONFIGS['bed'], bodies['adult'], 0, 3))
    for (pose, true), (same, same_true) in zip(people['bed'], again, strict=True):
        np.testing.assert_array_equal(pose.pixels, same.pixels)
        np.testing.assert_array_equal(true.depth, same_true.depth)
        for cover in Cover:
            for name in COVERED.modalities:
                np.testing.assert_array_equal(getattr(pose.covers[cover], name), getattr(same.covers[cover], name))


def test_other_seeds_and_subjects_are_others(bodies, people):
    for seed, subject in ((1, 3), (0, 4)):
        other, _ = next(subject_poses(CONFIGS['bed'], bodies['adult'], seed, subject))
        assert not np.allclose(other.pixels, people['bed'][0][0].pixels)


def test_what_depth_shows_does_not_depend_on_what_else_is_sensed(bodies, people):
    plain = replace(COVERED, modalities=('depth',), covers=(Cover.NONE,))
    pose, _ = next(subject_poses(plain, bodies['adult'], 0, 3))
    sensed = pose.covers[Cover.NONE]
    np.testing.assert_array_equal(sensed.depth, people['bed'][0][0].covers[Cover.NONE].depth)
    assert sensed.color is None
    assert sensed.infrared is None
    assert sensed.pressure is None
    assert set(pose.covers) == {Cover.NONE}


@pytest.mark.parametrize('kind', CONFIGS)
def test_the_subject_is_numbered_and_keeps_body_and_camera(people, kind):
    poses = [pose for pose, _ in people[kind]]
    assert [pose.number for pose in poses] == [1, 2, 3, 4, 5, 6]
    assert {pose.subject for pose in poses} == {3}
    assert len({pose.intrinsics for pose in poses}) == 1
    for _, true in people[kind]:
        np.testing.assert_array_equal(true.betas, people[kind][0][1].betas)
        assert np.abs(true.betas).max() <= 2


def test_the_order_is_that_of_slp(people):
    wanted = [Posture.SUPINE] * 2 + [Posture.LEFT_SIDE] * 2 + [Posture.RIGHT_SIDE] * 2
    for kind in ('bed', 'crib'):
        near = [true.posture == posture for (_, true), posture in zip(people[kind], wanted, strict=True)]
        # A few lie between two postures and count as the other one.
        assert sum(near) >= 4


def test_prone_takes_the_place_of_others(bodies):
    config = replace(COVERED, prone=1.0, poses=8, covers=(Cover.NONE,), modalities=('depth',))
    found = [true.posture for _, true in subject_poses(config, bodies['adult'], 0, 1)]
    assert found.count(Posture.PRONE) >= 6


def test_people_in_rooms_stand_or_sit(people):
    assert {true.posture for _, true in people['room']} <= {Posture.STANDING, Posture.SITTING}


@pytest.mark.parametrize('kind', CONFIGS)
def test_the_mask_shows_the_body(people, kind, bodies):
    for pose, true in people[kind]:
        assert true.mask.mean() > 0.01
        # Its points are near the joints of the truth, in the camera's frame.
        points = unproject(true.depth, pose.intrinsics)[true.mask]
        nearest = np.linalg.norm(points[::9, None] - true.joints, axis=2).min(axis=1)
        size = np.ptp(true.joints, axis=0).max()
        assert np.quantile(nearest, 0.95) < 0.2 * max(size, 0.7)


@pytest.mark.parametrize('kind', CONFIGS)
def test_labels_are_the_projected_joints(people, kind):
    for pose, true in people[kind]:
        knees = project(true.joints[[5, 4]].astype(np.float64), pose.intrinsics)
        np.testing.assert_allclose(pose.pixels[[1, 4]], knees, atol=1e-3)
        assert SLP_14[1] == 'right_knee'


def test_noise_moves_labels_and_turns_flags(bodies, people):
    config = replace(COVERED, label_noise=2.0, wrong_visibility=1.0)
    pose, _ = next(subject_poses(config, bodies['adult'], 0, 3))
    exact = people['bed'][0][0]
    np.testing.assert_array_equal(pose.occluded, ~exact.occluded)
    assert 0.5 < np.abs(pose.pixels - exact.pixels).mean() < 4


def test_depth_is_measured_near_the_truth(people):
    for kind in CONFIGS:
        pose, true = people[kind][0]
        depth = pose.covers[Cover.NONE].depth
        inner = true.mask & (depth > 0)
        assert np.median(np.abs(depth - true.depth)[inner]) < 0.02  # Most pixels of so small a picture are at edges.


def test_covers_hide_the_body_and_lie_above_it(people):
    for kind in ('bed', 'crib'):
        for pose, true in people[kind]:
            for cover in (Cover.SHEET, Cover.BLANKET):
                nearer = true.depth - pose.covers[cover].depth
                assert np.median(nearer[true.mask & (pose.covers[cover].depth > 0)]) > -0.003
                assert (nearer[true.mask] > 0.005).mean() > 0.2


def test_the_head_end_is_up_and_the_bed_fills_the_picture(bodies):
    plain = replace(COVERED, modalities=('depth',), covers=(Cover.NONE,), poses=3)
    for subject in range(1, 5):
        for pose, true in subject_poses(plain, bodies['adult'], 5, subject):
            head, ankles = pose.pixels[13], pose.pixels[[0, 5]].mean(axis=0)
            assert head[1] < ankles[1] - 0.25 * plain.size
            assert (pose.pixels >= 0).all()
            assert (pose.pixels <= plain.size).all()
            # About 2.1 m up, and people lie a little above the mattress.
            assert 1.95 < pose.bed_distance < 2.35
            assert 0 < pose.bed_distance - true.joints[0, 2] < 0.35


def test_pressure_is_under_the_body(people):
    for kind in ('bed', 'crib'):
        pose, true = people[kind][0]
        pressure = pose.covers[Cover.NONE].pressure
        assert pressure[true.mask].mean() > 5 * pressure[~true.mask].mean()
    assert people['room'][0][0].covers[Cover.NONE].pressure is None


def test_a_caregivers_arm_is_an_object_in_every_cover(bodies, people, monkeypatch):
    monkeypatch.setattr('hwhup_core.synthetic.sensing.CAREGIVER_CHANCE', 1.0)
    reached = list(subject_poses(COVERED, bodies['adult'], 0, 3))
    for (pose, true), (plain, plain_true) in zip(reached, people['bed'], strict=True):
        arm = true.depth < plain_true.depth - 0.05
        assert arm.any()
        assert not (true.mask & arm).any()
        np.testing.assert_array_equal(true.joints, plain_true.joints)
        assert (pose.occluded >= plain.occluded).all()
        # What lies under the arm, cloth or body, is warm skin or sleeve now.
        assert pose.covers[Cover.NONE].infrared[arm].mean() > 295
