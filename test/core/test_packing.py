from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hwhup_core.config_io import from_plain
from hwhup_core.errors import ConfigError, FrameError
from hwhup_core.networks.packing import (
    InputConfig,
    Modality,
    crop_to_input,
    depth_crop_to_input,
    pack_channels,
    picture_of_infrared,
    picture_of_pressure,
    relative_depth,
)
from hwhup_core.types import Frame, Intrinsics, PersonBox

CAMERA = Intrinsics(100.0, 100.0, 32.0, 24.0, 64, 48)
BOX = PersonBox(32.0, 24.0, 40.0)


def frame(**parts):
    return Frame(1, 'camera', **{'intrinsics': CAMERA, **parts})


def plane_with_bump(width, height, distance, radius, lift=0.1):
    """Return a plane with a disc of `radius` pixels `lift` metres nearer, in the middle of the image."""
    y, x = np.mgrid[:height, :width] + 0.5
    disc = np.hypot(x - width / 2, y - height / 2) < radius
    return np.where(disc, distance - lift, distance).astype(np.float32)


def test_pack_channels_by_hand():
    a, b, c = (np.full((1, 2, 2), value, np.float32) for value in (1, 3, 7))
    assert pack_channels([a])[:, 0, 0].tolist() == [1, 1, 1]
    assert pack_channels([a, b])[:, 0, 0].tolist() == [1, 3, 2]
    assert pack_channels([a, b, c])[:, 0, 0].tolist() == [1, 3, 7]
    assert pack_channels([np.concatenate([a, b, c])])[:, 0, 0].tolist() == [1, 3, 7]
    for wrong in ([], [a, b, c, a]):
        with pytest.raises(ConfigError, match=f'{len(wrong)} channels'):
            pack_channels(wrong)


def test_relative_depth_by_hand():
    depth = np.array([[2.0, 2.0, 2.0], [1.9, 0.0, 2.0], [2.05, 2.0, 0.5]], np.float32)
    # Median 2 m; half side 0.25 * 2 m = 0.5 m; gain 4: 10 cm nearer = 0.8.
    found = relative_depth(depth, 0.25, 4.0, 3.0)
    np.testing.assert_allclose(found, [[0, 0, 0], [0.8, 0, 0], [-0.4, 0, 3.0]], atol=1e-5)
    assert found.dtype == np.float32


def test_crop_and_rendered_crop_share_the_arithmetic():
    depth = plane_with_bump(64, 48, 2.0, 8)
    config = InputConfig(size=40)
    from_frame = crop_to_input(frame(depth=depth), BOX, config)
    crop = depth[4:44, 12:52]
    np.testing.assert_allclose(from_frame, depth_crop_to_input(crop, 20 / 100, config), atol=1e-5)
    assert from_frame.shape == (3, 40, 40)
    # Half side 20 px * 2 m / 100 px = 0.4 m, so 10 cm nearer is 4 * 0.1 / 0.4 = 1.
    np.testing.assert_allclose(from_frame[:, 20, 20], 1.0, atol=1e-5)
    np.testing.assert_allclose(from_frame[:, 2, 2], 0.0, atol=1e-5)


def test_distance_and_focal_length_cancel():
    near = frame(depth=plane_with_bump(64, 48, 1.5, 8))
    far = frame(depth=plane_with_bump(64, 48, 3.0, 8), intrinsics=dataclasses.replace(CAMERA, fx=200.0, fy=200.0))
    config = InputConfig(size=32)
    np.testing.assert_allclose(crop_to_input(near, BOX, config), crop_to_input(far, BOX, config), atol=1e-4)


def test_resolution_cancels():
    coarse = frame(depth=plane_with_bump(64, 48, 2.0, 8))
    fine = frame(depth=plane_with_bump(256, 192, 2.0, 32), intrinsics=Intrinsics(400.0, 400.0, 128.0, 96.0, 256, 192))
    config = InputConfig(size=40)
    difference = np.abs(crop_to_input(coarse, BOX, config) - crop_to_input(fine, PersonBox(128.0, 96.0, 160.0), config))
    assert np.percentile(difference, 90) < 1e-4  # All but the rim of the disc.
    assert difference.mean() < 0.02


@pytest.mark.parametrize('size', [16, 40, 64])
def test_holes_never_mix_in(size):
    depth = plane_with_bump(64, 48, 2.0, 8)
    rng = np.random.default_rng(0)
    depth[rng.random(depth.shape) < 0.3] = 0
    found = crop_to_input(frame(depth=depth), BOX, InputConfig(size=size))
    # A hole read as 0 m would stand at the limit; the scene holds nothing above 1.
    assert found.min() > -1e-4
    assert found.max() < 1 + 1e-4
    assert found.max() > 0.9


def test_outside_of_the_image_is_the_reference_surface():
    depth = plane_with_bump(64, 48, 2.0, 8)
    found = crop_to_input(frame(depth=depth), PersonBox(32.0, 24.0, 96.0), InputConfig(size=48))
    assert (found[:, :10] == 0).all()
    assert found.max() > 0.3


def test_inputs_stay_as_they_were():
    depth = plane_with_bump(64, 48, 2.0, 8)
    before = depth.copy()
    crop_to_input(frame(depth=depth), BOX, InputConfig(size=16))
    np.testing.assert_array_equal(depth, before)


def test_color_is_normalised_as_imagenet():
    color = np.zeros((48, 64, 3), np.uint8)
    color[..., 0], color[..., 2] = 255, 51
    found = crop_to_input(frame(color=color), BOX, InputConfig((Modality.RGB,), 20))
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, (0.2 - 0.406) / 0.225]
    np.testing.assert_allclose(found[:, 10, 10], expected, atol=1e-5)
    assert found.dtype == np.float32


def test_three_modalities_in_the_style_of_hwhup():
    parts = {
        'depth': np.full((48, 64), 1.5, np.float32),
        'infrared': np.full((48, 64), 0.5, np.float32),
        'pressure': np.full((48, 64), 0.25, np.float32),
    }
    config = InputConfig((Modality.DEPTH, Modality.INFRARED, Modality.PRESSURE), 20, 'spin')
    found = crop_to_input(frame(**parts, intrinsics=None), BOX, config)
    expected = [
        (0.5 - 0.7302197) / 0.25182092,
        (0.5 - 0.1924838) / 0.077975444,
        (0.25 - 0.009072126) / 0.038837425,
    ]
    np.testing.assert_allclose(found[:, 10, 10], expected, rtol=1e-5)
    assert found.dtype == np.float32


def filled(value):
    return np.full((48, 64), value, np.float32)


def test_sensors_have_their_scales():
    found = picture_of_infrared(np.array([[283.15, 293.15, 303.15, 323.15]]))
    np.testing.assert_allclose(found, [[-0.5, 0, 0.5, 1.5]], atol=1e-5)
    np.testing.assert_allclose(picture_of_pressure(np.array([[0.0, 47.0, 100.0]])), [[0, 0.5, 1]])


@pytest.mark.parametrize(
    ('parts', 'config', 'expected'),
    [
        # Raw depth: millimetres, a hole is 0 as in the released reader.
        ({'depth': filled(2.5)}, {'style': 'millimetres'}, (2500 - 2190.869) / 756.1536),
        ({'depth': filled(4.0)}, {'style': 'millimetres'}, (4000 - 2190.869) / 756.1536),
        ({'depth': filled(4.0)}, {'style': 'spin'}, (1 - 0.7302197) / 0.25182092),
        ({'depth': filled(0.0)}, {'style': 'millimetres'}, -2190.869 / 756.1536),
        # Infrared: 30 degrees are 0.5; 10 degrees are clipped in the pictures alone.
        ({'infrared': filled(0.5)}, {}, (0.5 - 0.1924838) / 0.077975444),
        ({'infrared': filled(0.5)}, {'infrared': 'kelvin'}, (303.15 - 296.999676) / 1.55950888),
        ({'infrared': filled(-0.5)}, {}, -0.1924838 / 0.077975444),
        ({'infrared': filled(-0.5)}, {'infrared': 'kelvin'}, (283.15 - 296.999676) / 1.55950888),
        # Pressure: 9.4 kPa, over 94 or over the map's own peak.
        ({'pressure': filled(0.1)}, {}, (0.1 - 0.009072126) / 0.038837425),
        ({'pressure': filled(0.1)}, {'pressure': 'picture'}, (1 - 0.009072126) / 0.038837425),
        ({'pressure': filled(0.0)}, {'pressure': 'picture'}, -0.009072126 / 0.038837425),
    ],
)
def test_statistics_of_pictures_and_raw_values(parts, config, expected):
    inputs = InputConfig((Modality(next(iter(parts))),), 16, **config)
    np.testing.assert_allclose(crop_to_input(frame(**parts), BOX, inputs), expected, rtol=2e-4)


def test_the_peak_is_that_of_the_whole_map():
    pressure = filled(0.1)
    pressure[:4] = 0.4  # Outside the box.
    found = crop_to_input(frame(pressure=pressure), BOX, InputConfig((Modality.PRESSURE,), 16, pressure='picture'))
    np.testing.assert_allclose(found[:, 8, 8], (0.25 - 0.009072126) / 0.038837425, rtol=1e-5)


def test_two_modalities_are_followed_by_the_mean_of_the_normalised():
    parts = {'infrared': filled(0.5), 'pressure': filled(0.25)}
    found = crop_to_input(frame(**parts), BOX, InputConfig((Modality.INFRARED, Modality.PRESSURE), 16))
    infrared, pressure = (0.5 - 0.1924838) / 0.077975444, (0.25 - 0.009072126) / 0.038837425
    np.testing.assert_allclose(found[:, 8, 8], [infrared, pressure, (infrared + pressure) / 2], rtol=1e-5)


def test_cards_of_earlier_weights_still_load():
    old = {'modalities': ['infrared', 'pressure'], 'size': 16, 'style': 'spin', 'depth_gain': 4.0, 'depth_limit': 3.0}
    loaded = from_plain(old, InputConfig, 'the card')
    assert (loaded.infrared, loaded.pressure) == ('picture', 'kilopascals')


@pytest.mark.parametrize(
    ('parts', 'box', 'config', 'reason'),
    [
        ({}, BOX, InputConfig(), 'missing_depth'),
        ({}, BOX, InputConfig((Modality.RGB,)), 'missing_rgb'),
        ({}, BOX, InputConfig((Modality.PRESSURE,)), 'missing_pressure'),
        ({'depth': np.ones((48, 64), np.float32), 'intrinsics': None}, BOX, InputConfig(), 'missing_intrinsics'),
        ({'depth': np.zeros((48, 64), np.float32)}, BOX, InputConfig(), 'empty_depth'),
        ({'depth': np.ones((48, 64), np.float32)}, PersonBox(500.0, 500.0, 20.0), InputConfig(), 'empty_depth'),
        ({'depth': np.ones((48, 64), np.float32)}, PersonBox(32.0, 24.0, 0.0), InputConfig(), 'bad_box'),
        ({'depth': np.ones((48, 64), np.float32)}, PersonBox(float('nan'), 24.0, 9.0), InputConfig(), 'bad_box'),
    ],
)
def test_unusable_frames_are_refused(parts, box, config, reason):
    with pytest.raises(FrameError) as caught:
        crop_to_input(frame(**parts), box, config)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'modalities': ()}, '0 channels'),
        ({'modalities': (Modality.RGB, Modality.DEPTH)}, '4 channels'),
        ({'modalities': (Modality.DEPTH, Modality.DEPTH)}, 'twice'),
        ({'size': 0}, 'not positive'),
        ({'depth_gain': -1.0}, 'not positive'),
    ],
)
def test_input_config_refuses(change, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(InputConfig(), **change)
