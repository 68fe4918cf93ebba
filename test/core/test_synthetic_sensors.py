"""Depth noise against its own formula."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from hwhup_core.errors import ConfigError
from hwhup_core.synthetic.sensors import DepthNoise, depth_noise

CLEAN = replace(
    DepthNoise(), **{field.name: 0.0 for field in fields(DepthNoise) if field.name not in ('patch_px', 'focal_px')}
)


def flat(z: float, size: tuple[int, int] = (200, 240)) -> np.ndarray:
    return np.full(size, z, np.float32)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_without_noise_nothing_changes():
    depth = np.linspace(0.0, 2.0, 5000, dtype=np.float32).reshape(50, 100)
    np.testing.assert_array_equal(depth_noise(depth, rng(), CLEAN), depth)


@pytest.mark.parametrize('z', [0.8, 1.5, 3.0])
def test_axial_noise_grows_with_the_square_of_the_distance(z):
    noise = replace(CLEAN, axial_base=0.001, axial_growth=0.002)
    error = depth_noise(flat(z), rng(), noise) - z
    assert error.std() == pytest.approx(0.001 + 0.002 * z * z, rel=0.03)
    assert abs(error.mean()) < 0.0005


def test_patches_are_smooth():
    error = depth_noise(flat(1.0), rng(), replace(CLEAN, patch_growth=0.01)) - 1
    assert 0.004 < error.std() < 0.01
    assert np.abs(np.diff(error, axis=1)).max() < 0.01


def test_steps_of_millimetres_and_of_disparity():
    noisy = replace(CLEAN, axial_base=0.01)
    millimetres = depth_noise(flat(1.2), rng(), replace(noisy, depth_step=0.001)) * 1000
    np.testing.assert_allclose(millimetres, np.rint(millimetres), atol=1e-3)
    levels = 500 / depth_noise(flat(1.2), rng(), replace(noisy, disparity_levels=500.0))
    np.testing.assert_allclose(levels, np.rint(levels), atol=1e-3)


def test_share_of_dropped_pixels():
    dropped = depth_noise(flat(1.0), rng(), replace(CLEAN, dropout=0.05)) == 0
    assert dropped.mean() == pytest.approx(0.05, abs=0.005)


def test_holes_are_discs_of_zeros():
    lost = depth_noise(flat(1.0, (480, 640)), rng(), replace(CLEAN, holes=40.0, hole_px=6.0)) == 0
    # Mean area of a disc with an exponential radius: 2 pi r^2.
    assert lost.sum() == pytest.approx(40 * 2 * np.pi * 36, rel=0.6)


def test_edges_lose_pixels_and_flat_ground_does_not():
    depth = flat(1.0)
    depth[:, 120:] = 1.3
    out = depth_noise(depth, rng(), replace(CLEAN, edge_dropout=0.5, edge_step=0.03))
    lost = out == 0
    assert lost[:, 119:121].mean() == pytest.approx(0.5, abs=0.1)
    assert not lost[:, :119].any()
    assert not lost[:, 121:].any()


def test_grazing_surfaces_get_lost():
    column = np.arange(240) / 600
    steep = np.broadcast_to((1 / (1.3 - 5 * column[:20] * 0.5)).astype(np.float32), (200, 20)).copy()
    noise = replace(CLEAN, edge_dropout=1.0, edge_step=1.0, focal_px=600.0)
    assert (depth_noise(steep, rng(), replace(noise, grazing_cosine=0.8)) == 0).mean() > 0.9
    assert (depth_noise(steep, rng(), replace(noise, grazing_cosine=0.05)) > 0).all()


def test_jitter_takes_values_from_neighbours_only():
    depth = flat(1.0)
    depth[:, 120:] = 1.3
    out = depth_noise(depth, rng(), replace(CLEAN, jitter_px=0.7))
    assert set(np.unique(out)) == {np.float32(1.0), np.float32(1.3)}
    wrong = out != depth
    assert wrong[:, 118:122].any()
    assert not wrong[:, :115].any()


def test_holes_of_the_scene_stay_holes():
    depth = flat(1.0)
    depth[50:100, 50:100] = 0
    assert (depth_noise(depth, rng(), replace(DepthNoise(), jitter_px=0.0))[50:100, 50:100] == 0).all()


def test_same_seed_same_noise_and_input_unchanged():
    depth = flat(1.0)
    first, second, other = (depth_noise(depth, np.random.default_rng(seed), DepthNoise()) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()
    assert (depth == 1).all()


def test_a_negative_strength_is_refused():
    with pytest.raises(ConfigError, match=r'dropout is -0\.1'):
        DepthNoise(dropout=-0.1)
