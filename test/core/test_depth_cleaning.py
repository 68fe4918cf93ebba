"""Hole filling against a naive twin, denoising on surfaces of known shape."""

from dataclasses import replace

import numpy as np
import pytest

from hwhup_core.errors import ConfigError
from hwhup_core.geometry.depth_cleaning import (
    PAPER,
    RELEASED_CODE,
    CleaningConfig,
    clean_depth,
    diffuse,
    fill_with_nearest,
    fill_with_smallest,
)


def holed(seed, share, shape=(33, 41)):
    """Return a random image with holes, one of them large, and which pixels are measured."""
    rng = np.random.default_rng(seed)
    depth = rng.uniform(1.0, 3.0, shape).astype(np.float32)
    depth[rng.random(shape) < share] = 0
    depth[5:30, 8:36] = np.where(rng.random((25, 28)) < 0.98, 0, depth[5:30, 8:36])
    return depth, depth > 0


def smallest_by_loop(depth, measured, first, last):
    """Return the released code's fill, pixel by pixel."""
    filled = depth.copy()
    for row, column in np.argwhere(~measured):
        for radius in range(first, last + 1):
            rows, columns = slice(max(row - radius, 0), row + radius), slice(max(column - radius, 0), column + radius)
            near = depth[rows, columns][measured[rows, columns]]
            if len(near):
                filled[row, column] = near.min()
                break
    return filled


def noisy_step(noise=0.01, height=0.3):
    """Return two planes with a step between columns 31 and 32, and the same without noise."""
    clean = np.full((64, 64), 2.0)
    clean[:, 32:] -= height
    return clean + np.random.default_rng(0).normal(0, noise, clean.shape), clean


@pytest.mark.parametrize(('first', 'last'), [(5, 20), (1, 3), (2, 2)])
@pytest.mark.parametrize('seed', [0, 1])
def test_smallest_fill_is_the_naive_one(seed, first, last):
    depth, measured = holed(seed, share=0.9)
    expected = smallest_by_loop(depth, measured, first, last)
    np.testing.assert_array_equal(fill_with_smallest(depth, measured, first, last), expected)
    assert (expected[~measured] > 0).any()
    assert last == 20 or (expected == 0).any()


def test_the_window_is_half_open():
    depth = np.zeros((9, 9))
    depth[4, 6] = 1.0
    filled = fill_with_smallest(depth, depth > 0, 2, 2)
    rows, columns = np.nonzero(filled)
    # A pixel sees the measurement when 4 is in [i - 2, i + 2) and 6 in [j - 2, j + 2).
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (3, 6, 5, 8)


def test_nearest_fill_takes_a_closest_pixel_and_invents_nothing():
    depth, measured = holed(3, share=0.6)
    filled = fill_with_nearest(depth, measured, reach=20)
    positions = np.argwhere(measured)
    for row, column in np.argwhere(~measured):
        distances = np.hypot(*(positions - (row, column)).T)
        source = positions[depth[tuple(positions.T)] == filled[row, column]]
        assert np.hypot(*(source - (row, column)).T).min() <= distances.min() * 1.03
    np.testing.assert_array_equal(filled[measured], depth[measured])


def test_nearest_fill_splits_a_gap_half_way_where_the_smallest_fill_grows_the_body():
    depth = np.tile(np.array([1.0, 1, 1, 0, 0, 0, 0, 2, 2, 2]), (10, 1))
    np.testing.assert_array_equal(fill_with_nearest(depth, depth > 0, 20)[5, 3:7], [1, 1, 2, 2])
    np.testing.assert_array_equal(fill_with_smallest(depth, depth > 0, 5, 20)[5, 3:7], [1, 1, 1, 1])


def test_a_hole_out_of_reach_keeps_its_value():
    depth = np.full((50, 50), 5.0)
    depth[0, 0] = 2.0
    near_and_far = replace(RELEASED_CODE, first_radius=1, last_radius=4)
    for config in (near_and_far, replace(near_and_far, fill='nearest')):
        cleaned = clean_depth(depth, config)
        assert cleaned[30, 30] == 5.0
        assert cleaned[2, 2] == 2.0


@pytest.mark.parametrize('config', [PAPER, RELEASED_CODE, CleaningConfig(), CleaningConfig(fill='none')])
def test_an_image_of_holes_stays_one(config):
    np.testing.assert_array_equal(clean_depth(np.zeros((30, 30), np.float32), config), 0)


@pytest.mark.parametrize('config', [PAPER, RELEASED_CODE, CleaningConfig()])
def test_input_and_dtype_are_kept(config):
    depth, _ = holed(5, share=0.5)
    before = depth.copy()
    assert clean_depth(depth, config).dtype == np.float32
    np.testing.assert_array_equal(depth, before)


def test_denoising_lowers_the_noise_of_a_plane_and_keeps_the_step():
    noisy, clean = noisy_step()
    smooth = clean_depth(noisy, PAPER)
    plane = np.s_[4:-4, 4:28]
    assert (smooth - clean)[plane].std() < 0.35 * (noisy - clean)[plane].std()
    jump = smooth[4:-4, 31] - smooth[4:-4, 32]
    assert jump.mean() == pytest.approx(0.3, abs=0.005)
    assert jump.std() < 0.02
    # A plain mean of the four neighbours would leave a slope of 0.1 m a pixel there.
    assert abs((smooth - clean)[:, 30:34]).max() < 0.03


def test_the_released_code_does_not_denoise():
    noisy, _ = noisy_step()
    np.testing.assert_array_equal(clean_depth(noisy, RELEASED_CODE), noisy)


def test_one_step_by_hand():
    depth = np.array([[1.0, 1.02, 1.02]])
    flow = 0.25 * 0.02 * np.exp(-((0.02 / 0.05) ** 2))
    np.testing.assert_allclose(diffuse(depth, 1, 0.05, 0.25), [[1 + flow, 1.02 - flow, 1.02]], atol=1e-15)


def test_holes_stay_out_of_the_diffusion():
    noisy, _ = noisy_step()
    holes = np.random.default_rng(1).random(noisy.shape) < 0.3
    smooth = diffuse(np.where(holes, 0, noisy), 15, 0.05, 0.25)
    assert (smooth[holes] == 0).all()
    assert smooth[~holes].min() > 1.6
    assert smooth.sum() == pytest.approx(np.where(holes, 0, noisy).sum())


def test_a_lone_pixel_keeps_its_depth():
    depth = np.zeros((3, 3))
    depth[1, 1] = 1.5
    np.testing.assert_array_equal(diffuse(depth, 15, 0.05, 0.25), depth)


@pytest.mark.parametrize('wrong', [{'step': 0.3}, {'first_radius': 0}, {'near': 5.0}, {'kappa': 0.0}])
def test_bad_settings_are_refused(wrong):
    with pytest.raises(ConfigError):
        CleaningConfig(**wrong)
