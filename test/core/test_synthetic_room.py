"""The room: people stand on its floor or sit on its seat, the camera sees them from the front."""

from __future__ import annotations

import numpy as np
import pytest

from hwhup_core.errors import ConfigError
from hwhup_core.synthetic.placement import SEAT_SINK, seat_height, seated_translation, standing_translation
from hwhup_core.synthetic.room import build_room, random_front_view
from hwhup_core.synthetic.scene import Material
from hwhup_core.synthetic.views import front_view

CAMERA = np.array([150.0, 150.0, 112.0, 112.0])
TARGET = np.array([0.2, 0.1, 0.9])
SITTER = np.array([[0.0, 0.0, 0.3], [0.05, 0.0, -0.1], [0.0, -0.4, 0.0], [0.0, -0.45, -0.5]])
"""A trunk, what is sat on, a knee and a foot; the pelvis is the origin."""


def test_the_front_view_looks_at_its_target_from_the_front():
    view = front_view(TARGET, 3.0, 1.4, 0.0, 0.0, 0.0)
    np.testing.assert_allclose(view.position, (0.2, -2.9, 1.4), atol=1e-12)
    np.testing.assert_allclose(view.to_camera(TARGET[None])[0], (0, 0, np.hypot(3.0, 0.5)), atol=1e-12)
    assert np.linalg.det(view.rotation) == pytest.approx(1)
    np.testing.assert_allclose(view.rotation @ view.rotation.T, np.eye(3), atol=1e-12)
    right = view.to_camera((TARGET + np.array([0.1, 0, 0]))[None])[0]
    np.testing.assert_allclose(right[:2], (0.1, 0), atol=1e-12)
    assert view.to_camera((TARGET + np.array([0, 0, 0.1]))[None])[0, 1] < 0


def test_azimuth_pitch_and_roll_turn_the_front_view():
    assert front_view(TARGET, 2.0, 0.9, np.pi / 2, 0.0, 0.0).position == pytest.approx((2.2, 0.1, 0.9))
    up = front_view(TARGET, 2.0, 0.9, 0.0, 0.1, 0.0).to_camera(TARGET[None])[0]
    assert up[1] / up[2] == pytest.approx(np.tan(0.1))
    rolled = front_view(TARGET, 2.0, 0.9, 0.0, 0.0, 0.2)
    np.testing.assert_allclose(rolled.up, (np.sin(-0.2), -np.cos(0.2), 0), atol=1e-12)


def test_random_front_views_keep_to_their_ranges():
    rng = np.random.default_rng(0)
    for view in (random_front_view(rng, TARGET) for _ in range(50)):
        assert 2.0 <= np.linalg.norm((view.position - TARGET)[:2]) <= 3.5
        assert 0.8 <= view.position[2] <= 1.8
        assert view.position[1] < 0


def test_the_lowest_vertex_stands_on_the_floor():
    view = front_view(TARGET, 3.0, 1.4, 0.3, 0.0, 0.1)
    pelvis = np.array([0.3, 0.2, 5.0])
    vertices = SITTER @ view.rotation.T + pelvis
    shift = standing_translation(vertices, pelvis, view, center=np.array([0.4, -0.1]))
    world = (vertices + shift - view.translation) @ view.rotation
    np.testing.assert_allclose(world, SITTER + np.array([0.4, -0.1, 0.5]), atol=1e-12)
    low = standing_translation(vertices, pelvis, view, floor_z=-0.2)
    assert ((vertices + low - view.translation) @ view.rotation)[:, 2].min() == pytest.approx(-0.2)


def test_a_sitter_is_carried_by_the_seat_with_the_feet_on_the_floor():
    view = front_view(TARGET, 3.0, 1.4, -0.3, 0.0, 0.0)
    vertices = SITTER @ view.rotation.T
    assert seat_height(vertices, np.zeros(3), view) == pytest.approx(0.4 + SEAT_SINK)
    shift = seated_translation(vertices, np.zeros(3), view, 0.4 + SEAT_SINK)
    world = (vertices + shift - view.translation) @ view.rotation
    np.testing.assert_allclose(world, SITTER + np.array([0, 0, 0.5]), atol=1e-12)


def test_a_room_has_floor_wall_and_seat():
    seat = np.array([0.1, 0.0]), 0.45
    scene = build_room(np.random.default_rng(2), seat)
    assert scene.floor == 0
    np.testing.assert_array_equal(scene.mattress_height(np.array([[0.0, 0.0], [1.0, 2.0]])), 0)
    top = scene.vertices[scene.faces[-12:]].reshape(-1, 3)
    assert top[:, 2].max() == 0.45
    np.testing.assert_allclose((top.min(axis=0) + top.max(axis=0))[:2] / 2, (0.1, 0.0), atol=1e-12)
    static = scene.render_static(CAMERA, (224, 224), front_view(np.array([0.0, 0.0, 0.9]), 3.0, 1.4, 0.0, 0.0, 0.0))
    counts = np.bincount(static.material.ravel(), minlength=len(Material))
    assert counts[Material.WALL] > 5000
    assert counts[Material.FLOOR] > 2000
    assert counts[Material.FURNITURE] > 200


@pytest.mark.parametrize('seed', range(20))
def test_nothing_stands_where_the_person_does(seed):
    scene = build_room(np.random.default_rng(seed))
    solid = scene.vertices[np.unique(scene.faces)]
    assert np.linalg.norm(solid[:, :2], axis=1).min() > 0.4
    view = front_view(np.array([0.0, 0.0, 0.9]), 3.0, 1.3, 0.0, 0.0, 0.0)
    depth = scene.render_static(CAMERA, (224, 224), view).depth
    # The middle of the person is 3 m away and free to be seen.
    assert depth[112, 112] == 0 or depth[112, 112] > 3.2


def test_the_seed_decides_the_room():
    first, again, other = (build_room(np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.vertices, again.vertices)
    assert first.vertices.shape != other.vertices.shape or (first.vertices != other.vertices).any()


def test_an_impossible_seat_is_refused():
    with pytest.raises(ConfigError, match='seat'):
        build_room(np.random.default_rng(0), (np.zeros(2), -0.4))
