"""Masks of made-up scenes, and the bed plane under clutter."""

import numpy as np
import pytest

from hwhup_core.errors import ConfigError, FrameError, HwhupError
from hwhup_core.geometry.depth import unproject
from hwhup_core.geometry.masks import (
    Plane,
    PlaneConfig,
    box_mask,
    cube_mask,
    fit_plane,
    given_mask,
    joint_range_mask,
    require_body,
)
from hwhup_core.types import Intrinsics, PersonBox

CAMERA = Intrinsics(100.0, 100.0, 40.0, 30.0, 80, 60)
CONFIG = PlaneConfig()


def tilted_bed(slope=0.3):
    """Return the depth of the plane z = 2 + slope y with a box 0.2 m nearer in the middle, and where the box is."""
    y = (np.arange(60) + 0.5 - CAMERA.cy) / CAMERA.fy
    depth = np.tile((2 / (1 - slope * y))[:, None], (1, 80))
    body = np.zeros((60, 80), bool)
    body[22:40, 30:50] = True
    return np.where(body, depth - 0.2, depth), body


def bed_points(depth):
    """Return all points of the image."""
    return unproject(depth, CAMERA).reshape(-1, 3)


def test_the_plane_is_found_under_the_body():
    depth, _ = tilted_bed()
    depth += np.random.default_rng(0).normal(0, 0.003, depth.shape)
    depth[:5] = 0
    plane = fit_plane(bed_points(depth), np.random.default_rng(1), CONFIG)
    expected = np.array([0, 0.3, -1]) / np.hypot(0.3, 1)
    np.testing.assert_allclose(plane.normal, expected, atol=0.01)
    assert plane.height(np.zeros((1, 3)))[0] == pytest.approx(2 / np.hypot(0.3, 1), abs=0.005)


def test_the_plane_is_a_function_of_points_and_generator():
    points = bed_points(tilted_bed()[0])
    first, second = (fit_plane(points, np.random.default_rng(7), CONFIG) for _ in range(2))
    np.testing.assert_array_equal(first.normal, second.normal)
    assert first.offset == second.offset


@pytest.mark.parametrize(
    'points', [np.zeros((50, 3)), np.ones((2, 3)), np.arange(30.0)[:, None] * np.ones(3), np.full((9, 3), np.nan)]
)
def test_no_plane_is_an_error_of_the_frame(points):
    with pytest.raises(FrameError) as caught:
        fit_plane(points, np.random.default_rng(0), CONFIG)
    assert caught.value.reason == 'no_plane'


def test_points_all_over_the_room_have_no_plane():
    points = np.random.default_rng(0).uniform(0.5, 3, (2000, 3))
    with pytest.raises(FrameError, match='expected 20%'):
        fit_plane(points, np.random.default_rng(0), CONFIG)


def test_the_cube_holds_the_body_and_not_the_bed():
    depth, body = tilted_bed()
    plane = fit_plane(bed_points(depth), np.random.default_rng(0), CONFIG)
    np.testing.assert_array_equal(cube_mask(depth, CAMERA, plane, np.array([0, 0, 1.9]), side=1.2), body)
    beside = cube_mask(depth, CAMERA, plane, np.array([0.6, 0, 1.9]), side=1.2)
    np.testing.assert_array_equal(beside, body & (np.arange(80) >= 40))
    assert not cube_mask(depth, CAMERA, plane, np.array([0, 0, 1.9]), side=1.2, clearance=0.25).any()


def test_a_wall_that_faces_sideways_still_has_axes():
    wall = Plane(np.array([-1.0, 0, 0]), -1.0)
    with np.errstate(all='raise'):
        assert not cube_mask(np.full((60, 80), 1.0), CAMERA, wall, np.zeros(3), side=0.1).any()


def test_box_and_given_masks_leave_holes_out():
    depth = np.ones((6, 8))
    depth[2, 3] = 0
    expected = np.zeros((6, 8), bool)
    expected[1:4, 2:5] = True
    expected[2, 3] = False
    np.testing.assert_array_equal(box_mask(depth, PersonBox(3.5, 2.5, 3.0)), expected)
    np.testing.assert_array_equal(given_mask(np.ones((6, 8), bool), depth), depth > 0)
    with pytest.raises(HwhupError, match='Crop both alike'):
        given_mask(np.ones((6, 7), bool), depth)


def test_joint_range():
    depth = np.tile(np.array([1.0, 1.94, 1.96, 2.0, 2.1, 2.14, 2.16, 0.0]), (4, 1))
    pixels = np.array([[3.5, 1.5], [4.5, 2.5], [0.5, 0.5], [7.5, 0.5], [np.nan, 1], [-1, 1]])
    visible = np.array([True, True, False, True, True, True])
    expected = np.tile(np.array([0, 0, 1, 1, 1, 1, 0, 0], bool), (4, 1))
    np.testing.assert_array_equal(joint_range_mask(depth, pixels, visible), expected)
    assert not joint_range_mask(depth, pixels, np.zeros(6, bool)).any()
    assert not joint_range_mask(np.zeros((4, 8)), pixels, visible).any()


def test_an_empty_mask_is_reported():
    with pytest.raises(FrameError, match='0 pixels') as caught:
        require_body(np.zeros((4, 4), bool))
    assert caught.value.reason == 'empty_mask'
    full = np.ones((4, 4), bool)
    assert require_body(full, least=16) is full


def test_bad_settings_are_refused():
    with pytest.raises(ConfigError):
        PlaneConfig(tolerance=0.0)
