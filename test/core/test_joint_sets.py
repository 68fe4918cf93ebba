"""Joint sets and the maps between them against the tables of method section 6, typed here as numbers."""

import numpy as np
import pytest

from hwhup_core.body import joints
from hwhup_core.body.keypoint_sets import KEYPOINT_SETS, keypoint_set, point_map, set_of_joints
from hwhup_core.body.model import load_body
from hwhup_core.errors import ConfigError

# Method 6.1: name -> place in the 54-joint stack -> flip partner.
TABLE_6_1 = [
    ('op_nose', 24, 0), ('op_neck', 12, 1), ('op_right_shoulder', 17, 5), ('op_right_elbow', 19, 6),
    ('op_right_wrist', 21, 7), ('op_left_shoulder', 16, 2), ('op_left_elbow', 18, 3), ('op_left_wrist', 20, 4),
    ('op_pelvis', 0, 8), ('op_right_hip', 2, 12), ('op_right_knee', 5, 13), ('op_right_ankle', 8, 14),
    ('op_left_hip', 1, 9), ('op_left_knee', 4, 10), ('op_left_ankle', 7, 11), ('op_right_eye', 25, 16),
    ('op_left_eye', 26, 15), ('op_right_ear', 27, 18), ('op_left_ear', 28, 17), ('op_left_big_toe', 29, 22),
    ('op_left_small_toe', 30, 23), ('op_left_heel', 31, 24), ('op_right_big_toe', 32, 19),
    ('op_right_small_toe', 33, 20), ('op_right_heel', 34, 21), ('gt_right_ankle', 8, 30), ('gt_right_knee', 5, 29),
    ('gt_right_hip', 45, 28), ('gt_left_hip', 46, 27), ('gt_left_knee', 4, 26), ('gt_left_ankle', 7, 25),
    ('gt_right_wrist', 21, 36), ('gt_right_elbow', 19, 35), ('gt_right_shoulder', 17, 34),
    ('gt_left_shoulder', 16, 33), ('gt_left_elbow', 18, 32), ('gt_left_wrist', 20, 31), ('gt_neck', 47, 37),
    ('gt_head_top', 48, 38), ('gt_pelvis', 49, 39), ('gt_thorax', 50, 40), ('gt_spine', 51, 41), ('gt_jaw', 52, 42),
    ('gt_head', 53, 43), ('gt_nose', 24, 44), ('gt_left_eye', 26, 46), ('gt_right_eye', 25, 45),
    ('gt_left_ear', 28, 48), ('gt_right_ear', 27, 47),
]  # fmt: skip

# Method 6.1: vertices of places 24..44 of the stack.
STACK_VERTICES = [
    *(332, 6260, 2800, 4071, 583, 3216, 3226, 3387, 6617, 6624, 6787),
    *(2746, 2319, 2445, 2556, 2673, 6191, 5782, 5905, 6016, 6133),
]
PARENTS = [-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21]
COCO_FLIP = [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]
GT_24_FLIP = [5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, 12, 13, 14, 15, 16, 17, 18, 19, 21, 20, 23, 22]

# Method 6.4: places in GT-24, in the order of the source.
INTO_GT_24 = {
    joints.LSP_14: list(range(14)),
    joints.COCO_17: [19, 20, 21, 22, 23, 9, 8, 10, 7, 11, 6, 3, 2, 4, 1, 5, 0],
    joints.MPII_16: [0, 1, 2, 3, 4, 5, 14, 15, 12, 13, 6, 7, 8, 9, 10, 11],
    joints.H36M_17: [14, 3, 4, 5, 2, 1, 0, 16, 12, 17, 18, 9, 10, 11, 8, 7, 6],
    joints.SPIN_24: list(range(24)),
}


def test_spin_49_is_table_6_1():
    assert list(joints.SPIN_49) == [name for name, _, _ in TABLE_6_1]
    assert joints.indices(joints.STACK_54, joints.SPIN_49_SOURCES) == [place for _, place, _ in TABLE_6_1]
    assert list(joints.FLIP_SPIN_49) == [partner for _, _, partner in TABLE_6_1]
    assert list(joints.SMPLH_LANDMARKS.values()) == STACK_VERTICES


def test_smpl_24_is_section_6_2():
    expected = (
        'pelvis left_hip right_hip spine1 left_knee right_knee spine2 left_ankle right_ankle spine3 left_foot '
        'right_foot neck left_collar right_collar head left_shoulder right_shoulder left_elbow right_elbow left_wrist '
        'right_wrist left_hand right_hand'
    )
    assert list(joints.SMPL_24) == expected.split()
    assert list(joints.PARENTS_24) == PARENTS
    pose_flip = [0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20, 23, 22]
    assert list(joints.joint_set('smpl_24').flip) == pose_flip


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('slp_14', [5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, 12, 13]),
        ('coco_17', COCO_FLIP),
        ('spin_24', GT_24_FLIP),
        ('mpii_16', [5, 4, 3, 2, 1, 0, 6, 7, 8, 9, 15, 14, 13, 12, 11, 10]),
        ('h36m_17', [0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 11, 12, 13]),
        ('openpose_25', [partner for _, _, partner in TABLE_6_1[:25]]),
        ('openpose_18', [0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 15, 14, 17, 16]),
    ],
)
def test_flips_are_section_6_3(name, expected):
    assert list(joints.joint_set(name).flip) == expected


@pytest.mark.parametrize(('source', 'expected'), INTO_GT_24.items())
def test_places_in_spins_24_are_section_6_4(source, expected):
    assert joints.spin_24_slots(source) == expected


def test_sets_without_a_place_in_spins_24_are_refused():
    with pytest.raises(ConfigError, match=r'no places in SPIN.*lsp_14.*h36m_17'):
        joints.spin_24_slots(joints.SMPL_24)


def test_scored_joints_are_section_6_4():
    regressor_order = [6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10, 0, 7, 9]
    assert joints.indices(joints.H36M_17, joints.EVAL_17) == regressor_order
    assert joints.indices(joints.SPIN_24, joints.EVAL_17) == [*range(13), 18, 14, 16, 17]
    assert joints.indices(joints.H36M_17, joints.EVAL_14) == regressor_order[:14]
    assert joints.H36M_RAW_32 == (11, 6, 7, 8, 1, 2, 3, 12, 24, 14, 15, 17, 18, 19, 25, 26, 27)


def test_openpose_sets_share_names():
    expected = [0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18]
    assert joints.indices(joints.OPENPOSE_25, joints.OPENPOSE_18) == expected


def test_slp_in_spin_49_is_the_training_rule():
    rng = np.random.default_rng(0)
    slp = rng.normal(size=(3, 14, 2))
    kept = slp.copy()
    positions, present = joints.slp_in_spin_49(slp)
    assert np.array_equal(slp, kept)
    assert np.flatnonzero(present).tolist() == [8, 9, 12, 25, 26, 29, 30, 31, 32, 33, 34, 35, 36, 37, 43]
    assert not positions[:, ~present].any()
    assert np.array_equal(positions[:, [9, 12]], slp[:, [2, 3]])
    assert np.allclose(positions[:, 8], (slp[:, 2] + slp[:, 3]) / 2)
    assert np.array_equal(positions[:, [25, 26, 29, 30]], slp[:, [0, 1, 4, 5]])
    assert np.array_equal(positions[:, 31:38], slp[:, 6:13])
    assert np.allclose(positions[:, 43], slp[:, 12] + 0.8 * (slp[:, 13] - slp[:, 12]))
    other, _ = joints.slp_in_spin_49(slp, head_ratio=0.5)
    assert np.allclose(other[:, 43], (slp[:, 12] + slp[:, 13]) / 2)


def test_each_set_says_which_hips():
    for each in joints.JOINT_SETS.values():
        assert each.hips == {'smpl_24': 'internal', 'spin_49': 'both'}.get(each.name, 'surface')
        assert len(set(each.joints)) == len(each.joints)
    with pytest.raises(ConfigError, match=r"'mpii'.*mpii_16"):
        joints.joint_set('mpii')


@pytest.mark.parametrize('name', ['spin_24', 'mpii_16', 'h36m_17', 'openpose_25', 'openpose_18'])
def test_key_point_sets_stand_on_a_body(name):
    keypoints = keypoint_set(name)
    assert set_of_joints(keypoints.joints) is keypoints
    assert keypoints.joints == joints.joint_set(name).joints
    here = point_map(keypoints, load_body('infant').landmark_names)
    absent = {joint for joint, weights in zip(keypoints.joints, here.mix) if not weights.any()}
    assert absent == ({'spine', 'jaw'} & set(keypoints.joints))
    expected = [joint not in absent and joint not in keypoints.ignored for joint in keypoints.joints]
    assert here.fitted.tolist() == expected
    hips = joints.indices(keypoints.joints, ('right_hip', 'left_hip', 'right_shoulder', 'left_shoulder'))
    assert here.torso[:, 0].tolist() == hips


def test_hips_of_mpii_lie_outside_smpls():
    landmarks = load_body('adult').landmark_names
    points = (*joints.SMPL_24, *landmarks)
    behind = {
        name: points[int(point_map(KEYPOINT_SETS[name], landmarks).mix[place].argmax())]
        for name, place in (('mpii_16', 2), ('slp_14', 2), ('h36m_17', 4), ('openpose_25', 9))
    }
    assert behind['mpii_16'] == 'coco_right_hip'
    assert {behind['slp_14'], behind['h36m_17'], behind['openpose_25']} == {'right_hip'}
