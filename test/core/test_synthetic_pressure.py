"""Pressure below bodies: it carries their weight, where they touch."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hwhup_core.synthetic.pressure import (
    CELL,
    FULL_SCALE,
    GRAVITY,
    contact_pressure,
    draw_on_plane,
    measure,
    pressure_picture,
)
from hwhup_core.synthetic.scene import Scene
from hwhup_core.synthetic.views import overhead_view

BED = Scene(
    vertices=np.zeros((3, 3)),
    faces=np.array([[0, 1, 2]], np.int32),
    material=np.zeros(1, np.uint8),
    length=2.0,
    width=1.0,
    heights=np.zeros((5, 5)),
    floor=-0.5,
)
FACES = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
CAMERA = np.array([200.0, 200.0, 112.0, 112.0])
SIZE = (224, 224)


def plate(x: tuple[float, float], y: tuple[float, float], z: float | tuple[float, float]) -> np.ndarray:
    """Return a rectangle; with two heights it slopes along x."""
    low, high = (z, z) if isinstance(z, float) else z
    return np.array([[x[0], y[0], low], [x[1], y[0], high], [x[1], y[1], high], [x[0], y[1], low]])


def test_a_flat_plate_spreads_its_weight_evenly():
    pressure = contact_pressure(BED, plate((0.0, 0.5), (-0.25, 0.25), 0.0), FACES, 50.0, 0.02)
    assert pressure.shape == (160, 80)
    assert pressure[85:115, 25:55].mean() == pytest.approx(50 * GRAVITY / 0.25 / 1000, rel=0.02)
    assert pressure[85:115, 25:55].std() < 1e-2
    assert pressure[:78].max() == 0
    assert pressure[122:].max() == 0


@pytest.mark.parametrize('weight', [5.0, 80.0])
def test_the_integral_is_the_weight(weight):
    pressure = contact_pressure(BED, plate((-0.4, 0.4), (-0.2, 0.2), (-0.01, 0.08)), FACES, weight, 0.025)
    assert pressure.sum() * CELL**2 * 1000 == pytest.approx(weight * GRAVITY, rel=1e-4)


def test_pressure_grows_with_depth_in_the_soft_layer():
    pressure = contact_pressure(BED, plate((-0.4, 0.4), (-0.2, 0.2), (-0.01, 0.07)), FACES, 1.0, 0.03)
    along = pressure[:, 40]
    start = round((1.0 - 0.4) / CELL)
    # The slope of 0.1 leaves the layer of 3 cm after 0.4 m; the depth falls from 4 cm to nothing.
    expected = 0.04 - 0.1 * (np.arange(30) + 0.5) * CELL
    np.testing.assert_allclose(along[start : start + 30] / along[start], expected / expected[0], atol=0.03)
    assert along[start + 34 :].max() == 0


def test_nothing_above_the_mattress_presses():
    assert contact_pressure(BED, plate((0.0, 0.5), (0.0, 0.5), 0.3), FACES, 70.0, 0.02).max() == 0
    assert contact_pressure(BED, plate((3.0, 3.5), (0.0, 0.5), 0.0), FACES, 70.0, 0.02).max() == 0


def test_who_touches_with_little_sinks_in_until_more_carries():
    arm = plate((0.6, 0.9), (0.0, 0.06), -0.02)
    trunk = plate((-0.3, 0.3), (-0.2, 0.2), 0.04)
    pressure = contact_pressure(BED, np.concatenate([arm, trunk]), np.concatenate([FACES, FACES + 4]), 70.0, 0.02)
    assert pressure[70:90, 30:50].min() > 1.0
    assert pressure.max() < 15


def test_the_sensor_clips_drops_and_counts_in_steps():
    exact = np.zeros((40, 40), np.float32)
    exact[5:15, 5:15], exact[25:35, 25:35] = 500.0, 0.1
    measured = measure(exact, np.random.default_rng(0))
    assert measured.max() == pytest.approx(FULL_SCALE)
    assert measured[20:, 20:].max() == 0
    counts = measured / FULL_SCALE * 255
    np.testing.assert_allclose(counts, np.rint(counts), atol=1e-3)


def test_cells_are_drawn_where_the_camera_sees_them():
    view = overhead_view(np.zeros(3), 2.1, math.radians(8), 0.7, 0.2)
    cells = np.zeros((160, 80), np.float32)
    cells[120:124, 50:54] = 1.0
    drawn = draw_on_plane(cells, view, CAMERA, SIZE)
    rows, columns = np.nonzero(drawn > 0.5)
    x, y, z = view.to_camera(np.array([[42 * CELL, 12 * CELL, 0.0]]))[0]
    expected = CAMERA[0] * x / z + CAMERA[2], CAMERA[1] * y / z + CAMERA[3]
    assert (columns.mean() + 0.5, rows.mean() + 0.5) == pytest.approx(expected, abs=0.5)


def test_the_picture_is_the_same_for_the_same_generator():
    view = overhead_view(np.zeros(3), 2.1, 0.0, 0.0, 0.0)
    body = plate((0.0, 0.5), (-0.25, 0.25), 0.0)
    first, second = (
        pressure_picture(BED, body, FACES, view, CAMERA, SIZE, np.random.default_rng(4), 60.0) for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)
    assert first.shape == SIZE
    assert first.dtype == np.float32
    assert first.max() == pytest.approx(60 * GRAVITY / 0.25 / 1000, rel=0.4)
