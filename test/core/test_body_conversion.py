"""The parts of the recipe behind the bundled bodies that can be checked without its source."""

import numpy as np
import pytest

from hwhup_core.body import conversion
from hwhup_core.body.anny import bone_owner
from hwhup_core.body.conversion import Hands, Samples
from hwhup_core.body.decimation import decimate
from hwhup_core.body.joints import PARENTS_24, SMPL_24, index


def octahedron_sphere(levels):
    """Return a unit sphere made of an octahedron, each triangle split in four `levels` times."""
    vertices = [np.array(v, float) for v in ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1))]
    faces = [(a, b, c) if s > 0 else (a, c, b) for a in (0, 1) for b in (2, 3) for c in (4, 5)
             for s in [(1 - 2 * a) * (1 - 2 * (b - 2)) * (1 - 2 * (c - 4))]]  # fmt: skip
    for _ in range(levels):
        middle = {}

        def between(i, j, middle=middle):
            key = (min(i, j), max(i, j))
            if key not in middle:
                middle[key] = len(vertices)
                point = vertices[i] + vertices[j]
                vertices.append(point / np.linalg.norm(point))
            return middle[key]

        faces = [
            small
            for a, b, c in faces
            for ab, bc, ca in [(between(a, b), between(b, c), between(c, a))]
            for small in ((a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca))
        ]
    return np.array(vertices), np.array(faces)


def test_decimation_keeps_a_closed_surface_of_kept_vertices():
    vertices, faces = octahedron_sphere(3)
    kept = decimate([vertices, vertices * [1.0, 0.8, 1.1]], faces, np.zeros(len(vertices), bool), 80)
    assert len(kept.kept) == 80
    assert len(kept.faces) == 2 * 80 - 4
    edges = np.concatenate([kept.faces[:, [0, 1]], kept.faces[:, [1, 2]], kept.faces[:, [2, 0]]])
    directed = {tuple(edge) for edge in edges.tolist()}
    assert len(directed) == len(edges)
    assert all((b, a) in directed for a, b in directed)
    corners = vertices[kept.kept][kept.faces]
    volume = (corners[:, 0] * np.cross(corners[:, 1], corners[:, 2])).sum() / 6
    assert 0.85 * 4 / 3 * np.pi < volume < 4 / 3 * np.pi


def test_decimation_says_when_it_cannot_go_on():
    vertices, faces = octahedron_sphere(1)
    with pytest.raises(ValueError, match='No edge can collapse'):
        decimate([vertices], faces, np.zeros(len(vertices), bool), 3)


def stick_figure():
    """Return joints with sloping arms and parted legs, (1, 24, 3), and the hands."""
    joints = np.zeros((1, 24, 3))
    step = {
        'hip': (0.1, -0.1, 0.0), 'knee': (0.2, -0.4, 0.1), 'ankle': (0.1, -0.4, -0.1), 'foot': (0.0, 0.0, 0.1),
        'collar': (0.05, 0.1, 0.0), 'shoulder': (0.1, 0.0, 0.0), 'elbow': (0.2, -0.2, 0.0), 'wrist': (0.2, -0.1, 0.1),
        'hand': (0.05, -0.05, 0.02),
    }  # fmt: skip
    for joint, parent in enumerate(PARENTS_24[1:], start=1):
        side, _, part = SMPL_24[joint].rpartition('_')
        move = np.array(step[part]) * [-1 if side == 'right' else 1, 1, 1] if side else np.array([0, 0.1, 0])
        joints[:, joint] = joints[:, parent] + move
    hands = {}
    for side, sign in (('left', 1), ('right', -1)):
        base = joints[:, index(f'{side}_hand')]
        hands[side] = Hands(
            index_base=base + np.array([0.0, 0.01, 0.03]),
            pinky_base=base - np.array([0.0, 0.01, 0.03]),
            middle_base=base,
            middle_tip=base + np.array([sign * 0.05, -0.05, 0.0]),
        )
    return joints, hands


def test_t_pose_has_straight_arms_along_x_and_keeps_bone_lengths():
    joints, hands = stick_figure()
    posed_vertices, posed = conversion.t_pose(joints.copy(), joints, hands, np.eye(24))
    assert np.allclose(posed_vertices, posed)
    for side, sign in (('left', 1), ('right', -1)):
        chain = posed[0, [index(f'{side}_{name}') for name in ('shoulder', 'elbow', 'wrist', 'hand')]]
        assert np.allclose(np.diff(chain, axis=0)[:, 1:], 0, atol=1e-12)
        assert (np.diff(chain, axis=0)[:, 0] * sign > 0).all()
    bones = [np.linalg.norm(points[0, 1:] - points[0, list(PARENTS_24[1:])], axis=1) for points in (joints, posed)]
    assert np.allclose(*bones)
    assert np.allclose(posed[0, 0], 0)


def test_regressor_finds_a_joint_that_is_a_mean_of_vertices():
    pytest.importorskip('scipy')
    rng = np.random.default_rng(0)
    vertices = rng.normal(size=(60, 12, 3))
    joints = np.repeat((vertices[:, :1] + vertices[:, 1:2]) / 2, 24, axis=1)
    samples = Samples(vertices=vertices, joints=joints, keypoints=vertices[:, 3:4])
    keypoint = conversion.keypoint_regressor(samples, samples, count=60)
    assert np.allclose(keypoint, np.eye(12)[3:4], atol=1e-6)
    regressor = conversion.joint_regressor(samples, samples, count=60)
    shoulder = regressor[index('left_shoulder')]
    assert np.allclose(shoulder, [0.5, 0.5, *[0] * 10], atol=1e-6)


def test_shape_space_recovers_directions_in_standard_deviations():
    rng = np.random.default_rng(0)
    direction = rng.normal(size=(5, 3))
    direction *= np.sign(np.ptp(direction[:, 1]))
    amounts = rng.normal(size=400)
    amounts = (amounts - amounts.mean()) / amounts.std()
    base = np.zeros((5, 3))
    base[:, 1] = np.arange(5) * 10
    noise = rng.normal(size=(400, 5, 3)) * 1e-4
    mean, directions, share = conversion.shape_space(base + amounts[:, None, None] * direction + noise)
    assert np.allclose(mean, base, atol=1e-3)
    sign = np.sign(direction[4, 1] - direction[0, 1])
    assert np.allclose(directions[..., 0], sign * direction, atol=1e-3)
    assert share > 0.999


def test_only_four_joints_move_a_vertex():
    weights = conversion.strongest_influences(np.array([[0.4, 0.3, 0.15, 0.1, 0.05] + [0.0] * 19]))
    assert np.allclose(weights[0, :5], np.array([0.4, 0.3, 0.15, 0.1, 0.0]) / 0.95)


def test_order_puts_vertices_at_the_places_asked_for():
    order = conversion.order_with(6, {0: 3, 3: 0, 1: 5})
    assert sorted(order) == list(range(6))
    assert (order[0], order[3], order[1]) == (3, 0, 5)


@pytest.mark.parametrize(
    ('bone', 'joint'),
    [
        ('spine05', 'pelvis'),
        ('pelvis.L', 'pelvis'),
        ('upperleg02.R', 'right_hip'),
        ('finger1-2.L', 'left_wrist'),
        ('finger2-2.L', 'left_hand'),
        ('shoulder01.R', 'right_collar'),
        ('eye.R', 'head'),
    ],
)
def test_bones_belong_to_joints(bone, joint):
    assert bone_owner(bone) == joint
