"""Adults in bed and upright people: limits, rest, habits, spread, and the speed-up of the contact check."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hwhup_core.body.joints import index
from hwhup_core.body.model import load_body
from hwhup_core.geometry.rotations import axis_angle_to_matrix
from hwhup_core.synthetic.builds import ADULT, INFANT
from hwhup_core.synthetic.capsules import ADULT_CAPSULES, INFANT_CAPSULES, PARTS
from hwhup_core.synthetic.contacts import (
    capsule_ends,
    capsule_overlap,
    parts_inside,
    resting_faults,
    segment_distances,
)
from hwhup_core.synthetic.limits import mirror_angles
from hwhup_core.synthetic.poses import LYING, LyingPoses, postures, sample_lying_poses
from hwhup_core.synthetic.rotations import joint_rotations
from hwhup_core.synthetic.upright import Activity, UprightPoses, sample_upright_poses, world_from_pelvis
from hwhup_core.types import BodyParams, Posture

LYING_POSES = Path(__file__).resolve().parents[3] / 'shared/data/lying_poses/lay_init_poses_2700.npz'
# Of the first state of the sampler, whose poses the shipped infant weights have seen.
INFANT_SUM = 0.630572005530
INFANT_ROOT = (-2.716843989663, 1.289092412619, 0.097391136149)


@pytest.fixture(scope='module')
def lying() -> LyingPoses:
    return sample_lying_poses(np.random.default_rng(0), 600, build=ADULT)


@pytest.fixture(scope='module')
def upright() -> UprightPoses:
    return sample_upright_poses(np.random.default_rng(0), 400)


def joints_in_world(poses: UprightPoses) -> np.ndarray:
    """Return the joints of mean adults, pelvis at the origin."""
    rotations = (world_from_pelvis(poses), joint_rotations(poses.joint_angles), np.zeros((len(poses), 10)))
    params = BodyParams(*(torch.from_numpy(array.astype(np.float32)) for array in rotations))
    joints = load_body('adult').skeleton(params).joints.numpy()
    return joints - joints[:, :1]


@pytest.mark.parametrize(('name', 'capsules'), [('infant', INFANT_CAPSULES), ('adult', ADULT_CAPSULES)])
def test_capsules_have_the_bones_of_the_bundled_body(name, capsules):
    body = load_body(name)
    rest = body.rest_joints.numpy()
    bones = rest[1:] - rest[list(body.parents[1:])]
    # Joints are rounded to millimetres, bones are differences of two.
    np.testing.assert_allclose(capsules.bones[1:], bones, atol=0.00102)


def test_adults_stay_inside_their_limits(lying, upright):
    for angles in (lying.joint_angles, upright.joint_angles):
        assert (angles >= ADULT.limits[..., 0] - 1e-9).all()
        assert (angles <= ADULT.limits[..., 1] + 1e-9).all()


def test_styles_are_inside_the_limits_and_their_shares_are_whole():
    for build in (ADULT, INFANT):
        assert (build.ranges[..., 0] <= build.ranges[..., 1]).all()
        assert (build.ranges[..., 0] >= build.limits[..., 0] - 1e-9).all()
        assert (build.ranges[..., 1] <= build.limits[..., 1] + 1e-9).all()
        np.testing.assert_allclose(build.shares.sum(axis=2), 1.0)


def test_infants_are_those_that_the_weights_were_trained_on():
    poses = sample_lying_poses(np.random.default_rng(7), 5)
    assert poses.joint_angles.sum() == pytest.approx(INFANT_SUM, abs=1e-9)
    np.testing.assert_allclose(poses.root[0], INFANT_ROOT, atol=1e-9)


def test_lying_adults_rest_with_the_head_at_its_end(lying):
    assert not resting_faults(lying.root, lying.joint_angles, ADULT.capsules).any().any()
    assert np.abs(lying.root[:, 0]).max() < np.radians(23)
    assert set(postures(lying.root)) == {int(posture) for posture in LYING}


def test_a_wanted_posture_comes_out_but_for_in_betweens():
    for posture in LYING:
        poses = sample_lying_poses(np.random.default_rng(1), 48, posture, ADULT)
        assert (postures(poses.root) == posture).all()


def test_supine_adults_mostly_stretch_and_sometimes_cross_their_legs():
    poses = sample_lying_poses(np.random.default_rng(2), 400, Posture.SUPINE, ADULT)
    assert 0.5 < (poses.joint_angles[:, 3, 0] < np.radians(20)).mean() < 0.9
    flat = UprightPoses(np.zeros((400, 3)), poses.joint_angles, np.zeros(400, int))
    joints = joints_in_world(flat)
    assert 0.02 < (joints[:, index('left_ankle'), 0] < joints[:, index('right_ankle'), 0]).mean() < 0.3


def test_the_compiled_overlap_is_that_of_segment_distances():
    for capsules in (ADULT_CAPSULES, INFANT_CAPSULES):
        rng = np.random.default_rng(3)
        angles = rng.uniform(ADULT.limits[..., 0], ADULT.limits[..., 1], (300, 23, 3))
        ends = capsule_ends(np.tile(np.eye(3), (300, 1, 1)), angles, capsules)
        first, second = capsules.pairs.T
        naive = segment_distances(ends[:, first], ends[:, second]) < 0.85 * (
            capsules.radii[first] + capsules.radii[second]
        )
        assert 0.005 < naive.mean() < 0.5
        np.testing.assert_array_equal(capsule_overlap(ends, capsules), naive)


def test_the_t_pose_is_clear_and_an_arm_in_the_belly_is_not():
    angles = np.zeros((1, 23, 3))
    world = np.eye(3)[None]
    assert not parts_inside(capsule_ends(world, angles, ADULT_CAPSULES), ADULT_CAPSULES).any()
    angles[0, index('left_shoulder') - 1, 2] = np.radians(-100)  # The forearm hangs through the flank and the thigh.
    inside = parts_inside(capsule_ends(world, angles, ADULT_CAPSULES), ADULT_CAPSULES)[0]
    assert inside[[PARTS.index('trunk'), PARTS.index('left_arm')]].all()
    assert not inside[PARTS.index('right_arm')]


def test_an_upright_body_stands_and_faces_the_camera():
    poses = UprightPoses(np.zeros((1, 3)), np.zeros((1, 23, 3)), np.zeros(1, int))
    rotation = world_from_pelvis(poses)[0]
    np.testing.assert_allclose(rotation @ (0, 1, 0), (0, 0, 1), atol=1e-12)
    np.testing.assert_allclose(rotation @ (0, 0, 1), (0, -1, 0), atol=1e-12)


def test_root_angles_turn_lean_forward_and_to_the_right():
    roots = np.radians([[90.0, 0, 0], [0, 30.0, 0], [0, 0, 30.0]])
    turned, forward, right = world_from_pelvis(UprightPoses(roots, np.zeros((3, 23, 3)), np.zeros(3, int)))
    np.testing.assert_allclose(turned @ (0, 0, 1), (1, 0, 0), atol=1e-12)
    np.testing.assert_allclose(forward @ (0, 1, 0), (0, -0.5, np.sqrt(0.75)), atol=1e-12)
    np.testing.assert_allclose(right @ (0, 1, 0), (-0.5, 0, np.sqrt(0.75)), atol=1e-12)


def test_upright_poses_are_mixed_mostly_frontal_and_not_through_themselves(upright):
    assert set(upright.activity) == set(Activity)
    assert 25 < np.degrees(upright.root[:, 0].std()) < 45
    ends = capsule_ends(world_from_pelvis(upright), upright.joint_angles, ADULT_CAPSULES)
    assert not parts_inside(ends, ADULT_CAPSULES).any()
    heads = joints_in_world(upright)[:, index('head'), 2]
    assert heads.min() > 0.2
    assert np.median(heads) > 0.55


@pytest.mark.parametrize('activity', Activity)
def test_an_activity_looks_like_itself(activity):
    poses = sample_upright_poses(np.random.default_rng(4), 200, activity)
    assert (poses.activity == activity).all()
    joints = joints_in_world(poses)
    knees = -joints[:, [index('left_knee'), index('right_knee')], 2]
    hands = joints[:, [index('left_wrist'), index('right_wrist')], 2].max(axis=1)
    if activity == Activity.SITTING:
        assert np.abs(knees).mean() < 0.12
    else:
        assert knees.mean() > 0.3
    if activity == Activity.REACHING:
        assert np.median(hands) > 0.3
    else:
        assert np.median(hands) < 0.3


def test_who_walks_swings_the_arm_of_the_other_side():
    poses = sample_upright_poses(np.random.default_rng(5), 400, Activity.WALKING)
    poses = UprightPoses(np.zeros((400, 3)), poses.joint_angles, poses.activity)
    joints = joints_in_world(poses)
    leg = joints[:, index('left_ankle'), 1] - joints[:, index('right_ankle'), 1]
    arm = joints[:, index('left_wrist'), 1] - joints[:, index('right_wrist'), 1]
    assert np.corrcoef(leg, arm)[0, 1] < -0.5


def test_mirrored_angles_mirror_the_rotations():
    angles = np.random.default_rng(6).uniform(-1, 1, (4, 23, 3))
    flip = np.diag([-1.0, 1.0, 1.0])
    mirrored = joint_rotations(mirror_angles(angles))
    np.testing.assert_allclose(mirrored[:, 0], flip @ joint_rotations(angles)[:, 1] @ flip, atol=1e-12)
    np.testing.assert_allclose(mirror_angles(mirror_angles(angles)), angles)


def test_the_same_seed_gives_the_same_people():
    for sample in (sample_upright_poses, lambda rng, count: sample_lying_poses(rng, count, build=ADULT)):
        first, second = (sample(np.random.default_rng(8), 9) for _ in range(2))
        np.testing.assert_array_equal(first.joint_angles, second.joint_angles)
        np.testing.assert_array_equal(first.root, second.root)


def angular_spread(rotations: np.ndarray) -> np.ndarray:
    """Return the root mean squared angle (degrees) of each joint's rotations from their mean rotation."""
    left, _, right = np.linalg.svd(rotations.mean(axis=0))
    left[..., -1] *= np.linalg.det(left @ right)[..., None]
    cosine = (np.einsum('njab,jab->nj', rotations, left @ right) - 1) / 2
    return np.degrees(np.sqrt((np.arccos(np.clip(cosine, -1, 1)) ** 2).mean(axis=0)))


@pytest.mark.skipif(not LYING_POSES.is_file(), reason=f'no lying poses of others to compare with at {LYING_POSES}')
def test_adults_spread_like_the_lying_poses_of_others(lying):
    pose = np.load(LYING_POSES)['pose'].reshape(-1, 24, 3)[:, 1:]
    theirs = angular_spread(axis_angle_to_matrix(torch.from_numpy(pose)).numpy())
    ours = angular_spread(joint_rotations(lying.joint_angles))
    for joint in ('hip', 'knee', 'shoulder', 'elbow'):
        for side in ('left', 'right'):
            row = index(f'{side}_{joint}') - 1
            assert 0.5 < ours[row] / theirs[row] < 1.6, f'{side}_{joint}: {ours[row]:.1f}, theirs {theirs[row]:.1f}'
    # Theirs has stiff trunks, heads and wrists and moves the whole shoulder in the collar.
    assert (ours[theirs == 0] > 0).all()
