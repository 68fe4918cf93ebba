"""The engine's looks drawn for named joints: upright ones, first ones, joints without a label."""

import numpy as np
import pytest

from hwhup_core.errors import ConfigError
from hwhup_core.networks.packing import InputConfig, Modality, crop_to_input
from hwhup_core.training.batches import Crops, draw_labelled, draw_weak
from hwhup_core.training.observe import in_box, wide_box, wide_pictures
from hwhup_core.training.pools import LabelledPool, TrueLabels, WeakLabels, WeakPool
from hwhup_core.training.transforms import LookConfig, box_transform, draw_look, move_points, trunk_angle
from hwhup_core.types import Frame, Intrinsics, PersonBox

NAMES = ('left_ankle', 'right_ankle', 'pelvis', 'thorax', 'head')
LYING = np.array([[0.5, 0.1], [0.5, -0.1], [0.1, 0.0], [-0.3, 0.0], [-0.5, 0.0]])
"""Head to the left: a quarter turn clockwise puts it up."""
STILL = LookConfig(settled=1.0, lean=0.0, settled_margin=(1.25, 1.25), settled_shift=0.0, flip=0.0)
EYES = np.eye(3)[None]


def test_a_later_look_is_upright_and_as_large_as_asked():
    look = draw_look(LYING, np.random.default_rng(0), NAMES, STILL)
    moved = move_points(LYING, look)
    assert np.allclose(moved[3] - moved[2], [0.0, -0.4 * look.zoom])
    assert np.isclose(np.ptp(moved, axis=0).max(), 2 / 1.25)
    assert np.allclose(moved.min(axis=0), -moved.max(axis=0))


def test_a_first_look_has_any_heading():
    config = LookConfig(settled=0.0, flip=0.0)
    looks = [draw_look(LYING, np.random.default_rng(seed), NAMES, config) for seed in range(200)]
    angles = np.array([look.angle for look in looks])
    assert np.abs(np.exp(1j * angles).mean()) < 0.15
    extents = [np.ptp(move_points(LYING, look), axis=0).max() for look in looks]
    assert 2 / config.margin[1] - 1e-9 <= min(extents) < max(extents) <= 2 / config.margin[0] + 1e-9


def test_unlabelled_joints_do_not_count():
    points = np.concatenate([LYING, [[np.nan, np.nan]]])
    names = (*NAMES, 'left_wrist')
    ours, theirs = (
        draw_look(each, np.random.default_rng(3), which, LookConfig())
        for each, which in ((points, names), (LYING, NAMES))
    )
    assert ours.angle == theirs.angle
    assert np.allclose(ours.shift, theirs.shift)


def test_without_a_trunk_every_look_is_a_first_one():
    headless = np.where(np.array(NAMES)[:, None] == 'thorax', np.nan, LYING)
    angles = [draw_look(headless, np.random.default_rng(seed), NAMES, STILL).angle for seed in range(100)]
    assert np.isnan(trunk_angle(headless, NAMES))
    assert np.abs(np.exp(1j * np.array(angles)).mean()) < 0.25


def test_a_shift_is_in_sides_of_the_box():
    straight, shifted = (box_transform(LYING, 1.0, 0.0, False, shift) for shift in (None, np.array([0.25, 0.0])))
    assert np.allclose(move_points(LYING, straight) - move_points(LYING, shifted), [0.5, 0.0])


def test_wrong_settings_are_refused():
    with pytest.raises(ConfigError, match='shares'):
        LookConfig(settled=1.5)
    with pytest.raises(ConfigError, match='margin'):
        LookConfig(margin=(2.0, 1.0))
    with pytest.raises(ConfigError, match='thorax'):
        trunk_angle(LYING, ('a', 'b', 'pelvis', 'c', 'd'))


def colour_frame():
    y, x = np.mgrid[:120, :160]
    color = np.stack([x * 1.5, y * 2.0, 120 + 60 * np.sin(x / 9.0) * np.cos(y / 7.0)], axis=2).astype(np.uint8)
    return Frame(1, 'camera', color=color, intrinsics=Intrinsics(150.0, 150.0, 80.0, 60.0, 160, 120))


def test_a_training_look_is_what_the_engine_crops():
    frame, inputs = colour_frame(), InputConfig((Modality.RGB,), size=48)
    pixels = np.array([80.0, 60.0]) + 60 * LYING
    wide = wide_box(pixels, 1.6)
    positions = in_box(pixels, wide)
    pool = LabelledPool(
        wide_pictures(frame, frame.intrinsics, wide, 192),
        TrueLabels(positions[None], EYES, np.repeat(EYES, 23, axis=0)[None], np.zeros((1, 10))), NAMES, ('one',),
    )  # fmt: skip
    look = draw_look(positions, np.random.default_rng(0), NAMES, STILL)
    batch = draw_labelled(pool, np.array([0]), [np.random.default_rng(0)], lambda *_: look, Crops(inputs))
    middle = -np.linalg.solve(look.turn, look.shift) / look.zoom * wide.side / 2
    box = PersonBox(wide.center_x + middle[0], wide.center_y + middle[1], wide.side / look.zoom, turn=look.angle)
    difference = np.abs(batch.images[0].numpy() - crop_to_input(frame, box, inputs))
    assert np.median(difference) < 0.03
    assert np.mean(difference) < 0.1


def test_a_weak_batch_hides_unlabelled_joints_from_the_draw():
    frame = colour_frame()
    box = PersonBox(80.0, 60.0, 100.0)
    labels = WeakLabels(
        keypoints=LYING[None], confidence=np.array([[1.0, 0.0, 1.0, 1.0, 1.0]]), visibility=np.zeros((1, 5)),
        proxies=np.zeros((1, 5, 3)), depth=np.zeros((1, 64, 64), np.uint16), mask=np.zeros((1, 64, 64), bool),
        rows=np.array([0]),
    )  # fmt: skip
    pool = WeakPool(wide_pictures(frame, frame.intrinsics, box, 64), labels, NAMES, ('one',))
    seen = []

    def draw(points, rng):
        seen.append(points)
        return draw_look(points, rng, NAMES, STILL)

    crops = Crops(InputConfig((Modality.RGB,), size=32))
    batch = draw_weak(pool, np.array([0]), [np.random.default_rng(0)], draw, crops)
    assert np.isnan(seen[0][1]).all()
    assert np.isfinite(batch.images.numpy()).all()
    assert np.isfinite(batch.observation.keypoints.numpy()).all()
