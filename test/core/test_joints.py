"""Joint names, flips and maps against the tables of the method."""

import pytest

from hwhup_core.body import joints
from hwhup_core.errors import ConfigError

# SPIN's 49 joints in the 54-joint stack and their flip partners, as published.
SPIN_STACK = [
    *(24, 12, 17, 19, 21, 16, 18, 20, 0, 2, 5, 8, 1, 4, 7, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34),
    *(8, 5, 45, 46, 4, 7, 21, 19, 17, 16, 18, 20, 47, 48, 49, 50, 51, 52, 53, 24, 26, 25, 28, 27),
]
SPIN_FLIP = [
    *(0, 1, 5, 6, 7, 2, 3, 4, 8, 12, 13, 14, 9, 10, 11, 16, 15, 18, 17, 22, 23, 24, 19, 20, 21),
    *(30, 29, 28, 27, 26, 25, 36, 35, 34, 33, 32, 31, 37, 38, 39, 40, 41, 42, 43, 44, 46, 45, 48, 47),
]


def test_spin_joints_come_from_the_published_places():
    assert joints.indices(joints.STACK_54, joints.SPIN_49_SOURCES) == SPIN_STACK


def test_flips_are_the_published_ones():
    assert list(joints.FLIP_SPIN_49) == SPIN_FLIP
    expected_24 = [0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20, 23, 22]
    assert list(joints.FLIP_24) == expected_24
    assert list(joints.FLIP_COCO_17) == [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]
    assert list(joints.FLIP_LSP_14) == [5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, 12, 13]


@pytest.mark.parametrize(
    ('names', 'count'),
    [
        (joints.SMPL_24, 24),
        (joints.COCO_17, 17),
        (joints.LSP_14, 14),
        (joints.SPIN_49, 49),
        (joints.STACK_54, 54),
        (tuple(joints.SMPLH_LANDMARKS), 21),
    ],
)
def test_sets_have_their_size_and_no_name_twice(names, count):
    assert len(names) == len(set(names)) == count


def test_parents_name_the_right_bones():
    def parent(name):
        return joints.SMPL_24[joints.PARENTS_24[joints.index(name)]]

    assert parent('left_knee') == 'left_hip'
    assert parent('right_shoulder') == 'right_collar'
    assert parent('right_hand') == 'right_wrist'
    assert parent('head') == 'neck'
    assert all(parent < child for child, parent in enumerate(joints.PARENTS_24))


def test_landmark_vertices_are_those_of_smplx():
    vertex_ids = pytest.importorskip('smplx.vertex_ids').vertex_ids['smplh']
    assert sorted(joints.SMPLH_LANDMARKS.values()) == sorted(vertex_ids.values())
    assert joints.SMPLH_LANDMARKS['right_eye'] == vertex_ids['reye']
    assert joints.SMPLH_LANDMARKS['left_pinky'] == vertex_ids['lpinky']
    assert joints.SMPLH_LANDMARKS['right_heel'] == vertex_ids['RHeel']


def test_maps_between_sets_go_by_name():
    source, target = joints.shared(joints.COCO_17, joints.LSP_14)
    assert len(source) == 12
    assert target == list(range(12))
    assert [joints.COCO_17[i] for i in source] == list(joints.LSP_14[:12])


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"'tail'.*left_hip"):
        joints.index('tail')
