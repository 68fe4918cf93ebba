"""Poses: limits, rest, motion."""

from __future__ import annotations

import numpy as np
import pytest

from hwhup_core.errors import ConfigError
from hwhup_core.synthetic.contacts import resting_faults, segment_distances
from hwhup_core.synthetic.limits import JOINT_LIMITS, limit_table
from hwhup_core.synthetic.motion import MotionConfig, slow_motion
from hwhup_core.synthetic.poses import LYING, LyingPoses, postures, sample_lying_pose, sample_lying_poses
from hwhup_core.synthetic.rotations import axis_rotations, joint_rotations, root_rotations
from hwhup_core.types import Posture


@pytest.fixture(scope='module')
def poses() -> LyingPoses:
    return sample_lying_poses(np.random.default_rng(0), 96)


def test_joint_angles_stay_inside_the_limits(poses):
    assert (poses.joint_angles >= JOINT_LIMITS[..., 0] - 1e-9).all()
    assert (poses.joint_angles <= JOINT_LIMITS[..., 1] + 1e-9).all()


def test_the_right_side_mirrors_the_left():
    left, right = limit_table({}, {})[[0, 1]]
    np.testing.assert_allclose(right[0], left[0])
    np.testing.assert_allclose(right[1:], -left[1:, ::-1])


def test_sampled_poses_can_rest_and_cover_all_postures(poses):
    assert not resting_faults(poses.root, poses.joint_angles).any().any()
    assert set(postures(poses.root)) == {int(posture) for posture in LYING}


@pytest.mark.parametrize('posture', LYING)
def test_a_wanted_posture_is_what_gravity_says(posture):
    pose = sample_lying_pose(np.random.default_rng(3), posture)
    left, _, front = pose.world_from_pelvis[2]
    by_gravity = {
        Posture.SUPINE: front,
        Posture.PRONE: -front,
        Posture.LEFT_SIDE: -left,
        Posture.RIGHT_SIDE: left,
    }
    assert pose.posture == posture
    assert max(by_gravity, key=by_gravity.__getitem__) == posture


def test_left_and_right_limbs_are_independent(poses):
    knees = poses.joint_angles[:, [3, 4], 0]
    assert abs(np.corrcoef(knees.T)[0, 1]) < 0.35
    assert knees.std(axis=0).min() > 0.3


def test_a_supine_infant_looks_up_with_the_head_to_world_x():
    rotation = root_rotations(np.zeros((1, 3)))[0]
    np.testing.assert_allclose(rotation @ (0, 1, 0), (1, 0, 0), atol=1e-12)
    np.testing.assert_allclose(rotation @ (0, 0, 1), (0, 0, 1), atol=1e-12)


def test_rotations_are_rotations_and_turn_the_right_way(poses):
    matrices = joint_rotations(poses.joint_angles)
    np.testing.assert_allclose(
        matrices @ np.swapaxes(matrices, -1, -2), np.broadcast_to(np.eye(3), matrices.shape), atol=1e-9
    )
    np.testing.assert_allclose(axis_rotations(np.array([np.pi / 2]), 2)[0] @ (1, 0, 0), (0, 1, 0), atol=1e-12)


def test_segment_distances_by_hand():
    first = np.array([[[0.0, 0, 0], [1, 0, 0]], [[0, 0, 0], [1, 0, 0]], [[0, 0, 0], [1, 0, 0]]])
    second = np.array([[[0.5, -1, 2], [0.5, 1, 2]], [[3, 0, 0], [4, 0, 0]], [[0, 3, 0], [1, 3, 0]]])
    np.testing.assert_allclose(segment_distances(first, second), [2.0, 2.0, 3.0])


def test_a_forearm_through_the_chest_is_a_fault():
    angles = np.zeros((1, 23, 3))
    root = np.zeros((1, 3))
    assert not resting_faults(root, angles).inside.any()
    angles[0, 17, 1] = np.radians(-175)  # The elbow folds the forearm back along the upper arm, into the chest.
    assert resting_faults(root, angles).inside[0, [0, 3]].all()


def test_a_leg_under_the_trunk_holds_it_up():
    angles = np.zeros((1, 23, 3))
    angles[0, 0, 0] = np.radians(40)
    assert resting_faults(np.zeros((1, 3)), angles).held_up[0].tolist() == [False, True, False, False, False]


def test_the_same_seed_gives_the_same_poses():
    first, second = (sample_lying_poses(np.random.default_rng(7), 5) for _ in range(2))
    np.testing.assert_array_equal(first.joint_angles, second.joint_angles)
    np.testing.assert_array_equal(first.root, second.root)


def test_motion_is_slow_continuous_and_repeats():
    config = MotionConfig(steps=5, joint_speed=1.2, roll_speed=0.5)
    motion = slow_motion(np.random.default_rng(1), config)
    step = 0.02
    path = [motion(time) for time in np.arange(0.0, motion.period + 0.5, step)]
    angles = np.stack([pose.joint_angles for pose in path])
    assert np.abs(np.diff(angles, axis=0)).max() <= config.joint_speed * step * 1.001
    rotations = np.stack([pose.world_from_pelvis for pose in path])
    cosines = (np.einsum('tij,tij->t', rotations[1:], rotations[:-1]) - 1) / 2
    assert np.arccos(np.clip(cosines, -1, 1)).max() <= 3 * config.roll_speed * step
    np.testing.assert_allclose(motion(0.7).joint_angles, motion(0.7 + motion.period).joint_angles, atol=1e-9)
    assert np.abs(angles - angles[0]).max() > 0.2


def test_moving_joints_stay_inside_the_limits():
    motion = slow_motion(np.random.default_rng(2), MotionConfig(steps=4))
    angles = np.stack([motion(time).joint_angles for time in np.linspace(0, motion.period, 80)])
    assert (angles >= JOINT_LIMITS[..., 0] - 1e-9).all()
    assert (angles <= JOINT_LIMITS[..., 1] + 1e-9).all()


def test_a_motion_without_speed_is_refused():
    with pytest.raises(ConfigError, match='joint_speed'):
        MotionConfig(joint_speed=0.0)
