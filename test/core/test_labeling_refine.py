"""Refinement to the depth: the way points move by finite differences, and an estimate led back to what was measured."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hwhup_core.body.joints import SMPL_24
from hwhup_core.body.model import load_body
from hwhup_core.errors import ConfigError
from hwhup_core.inference.placement import compare_depth
from hwhup_core.labeling.placed import LabelledBody
from hwhup_core.labeling.refine import RefineConfig, measured_near, refined_to_depth
from hwhup_core.types import BodyEstimate, Intrinsics, PersonBox, Posture, State

CAMERA = Intrinsics(280.0, 280.0, 160.0, 120.0, 320, 240)


@pytest.fixture(scope='module')
def body():
    return LabelledBody(load_body('infant'))


def estimate_of(rotations, body, root):
    """Return an estimate with this pose; what refinement does not read is empty."""
    empty = np.zeros((24, 4))
    placed = body.placed_by(rotations, np.zeros(10), root)
    return BodyEstimate(
        stamp_ns=0, frame_id='c', subject_id='s', state=State.ESTIMATED, confidence=1.0, body_id='', body_hash='',
        weights_hash='', betas=np.zeros(10), pose=Rotation.from_matrix(rotations).as_rotvec().reshape(72),
        root_position=root, root_orientation=empty[0], joint_positions=placed.joints, joint_orientations=empty,
        joint_pixels=empty[:, :2], joint_visibility=empty[:, 0], joint_confidence=empty[:, 0],
        joint_sigma=empty[:, 0], box=PersonBox(0.0, 0.0, 1.0), camera=np.zeros(3), posture=Posture.UNKNOWN,
        aligned_depth_error=1.0,
    )  # fmt: skip


def true_pose():
    """Return an infant on its back under a camera that looks straight down, one arm bent, knees drawn up."""
    rotations = np.tile(np.eye(3), (24, 1, 1))
    rotations[0] = Rotation.from_rotvec([np.pi, 0, 0]).as_matrix()
    for name, turn in (('left_hip', [-0.6, 0, 0.2]), ('left_knee', [0.7, 0, 0]), ('right_elbow', [0, 0.8, 0])):
        rotations[SMPL_24.index(name)] = Rotation.from_rotvec(turn).as_matrix()
    return rotations, np.array([0.0, 0.05, 1.1])


def measured_depth(body, rotations, root):
    """Return the depth image of the body on a flat bed."""
    placed = body.placed_by(rotations, np.zeros(10), root)
    depth = np.full((240, 320), 1.25, np.float32)
    comparison = compare_depth(placed.vertices, body.faces, depth, CAMERA)
    window = comparison.window
    inside = depth[window.top : window.bottom, window.left : window.right]
    inside[comparison.rendered > 0] = comparison.rendered[comparison.rendered > 0]
    return depth


def disturbed(rotations):
    wrong = rotations.copy()
    for name, turn in (('left_shoulder', [0, 0.1, 0.35]), ('right_hip', [0.1, 0, 0.3])):
        joint = SMPL_24.index(name)
        wrong[joint] = Rotation.from_rotvec(turn).as_matrix() @ wrong[joint]
    return wrong


@pytest.mark.parametrize(('joint', 'limb'), [('pelvis', None), ('left_elbow', 'left_wrist')])
def test_jacobian_is_that_of_a_small_turn(body, joint, limb):
    rotations, root = true_pose()
    number, small = SMPL_24.index(joint), 1e-3
    before = body.placed_by(rotations, np.zeros(10), root)
    surface = body.surface
    which = np.arange(len(surface.chosen))
    if limb:  # The rule is exact where a point follows one bone.
        which = np.flatnonzero(surface._follows[:, number] > 0.999)
        assert len(which) > 5
    for axis in range(3):
        turn = Rotation.from_rotvec(small * np.eye(3)[axis]).as_matrix()
        turned = rotations.copy()
        chain = np.eye(3)
        ancestor = number
        while (ancestor := parent_of(ancestor)) >= 0:
            chain = rotations[ancestor] @ chain
        turned[number] = chain.T @ turn @ chain @ rotations[number]
        after = body.placed_by(turned, np.zeros(10), root)
        chosen = surface.chosen[which]
        moved = (after.vertices[chosen] - before.vertices[chosen]) / small
        jacobian = surface.jacobian(which, before.vertices[chosen].astype(float), before.joints.astype(float))
        np.testing.assert_allclose(jacobian[:, :, 3 * number + axis], moved, atol=3e-3)


def parent_of(joint):
    from hwhup_core.body.joints import PARENTS_24

    return PARENTS_24[joint]


def test_a_disturbed_estimate_finds_back(body):
    rotations, root = true_pose()
    depth = measured_depth(body, rotations, root)
    truth = body.placed_by(rotations, np.zeros(10), root)
    estimate = estimate_of(disturbed(rotations), body, root + np.array([0.01, -0.01, 0.01]))
    found = refined_to_depth(body, estimate, depth, CAMERA, RefineConfig(rounds=12))
    assert found is not None
    before, after = (
        np.linalg.norm(joints - truth.joints, axis=1) for joints in (estimate.joint_positions, found.placed.joints)
    )
    assert after.mean() < 0.6 * before.mean()
    assert found.aligned_depth_error < 0.01


def test_what_is_no_better_is_not_taken(body):
    rotations, root = true_pose()
    depth = measured_depth(body, rotations, root)
    estimate = estimate_of(disturbed(rotations), body, root)
    config = RefineConfig()
    assert refined_to_depth(body, replace(estimate, aligned_depth_error=0.0), depth, CAMERA, config) is None
    assert refined_to_depth(body, estimate, depth, CAMERA, replace(config, largest_move_m=1e-3)) is None
    assert refined_to_depth(body, estimate, np.zeros_like(depth), CAMERA, config) is None


def test_the_bed_is_not_the_body(body):
    rotations, root = true_pose()
    depth = measured_depth(body, rotations, root)
    vertices = body.placed_by(rotations, np.zeros(10), root).vertices
    points = measured_near(vertices, depth, CAMERA, RefineConfig())
    assert len(points) > 100
    assert points[:, 2].max() < 1.24


def test_what_hides_the_body_leaves_it_out(body):
    rotations, root = true_pose()
    depth = measured_depth(body, rotations, root)
    placed = body.placed_by(rotations, np.zeros(10), root)
    free = body.surface.view(placed.vertices, depth, CAMERA, 0.08)
    depth[:, :160] = 0.7
    half = body.surface.view(placed.vertices, depth, CAMERA, 0.08)
    left = free.vertices[:, 0] < -0.01
    assert free.bare[left].any()
    assert not half.bare[left].any()
    np.testing.assert_array_equal(half.facing, free.facing)


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ConfigError, match='rounds'):
        RefineConfig(rounds=0)
