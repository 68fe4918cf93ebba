"""Recordings as training sees them: parts that are apart in time, labels by name, masks and depth of the same frame."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from hwhup_core.body.joints import COCO_17, SLP_14
from hwhup_core.data.recording import open_recording
from hwhup_core.data.recording_card import RecordingCard
from hwhup_core.data.recording_writer import RecordingWriter
from hwhup_core.errors import AssetError, ConfigError, HwhupError
from hwhup_core.labeling.labels import FrameLabel
from hwhup_core.networks.packing import Modality
from hwhup_core.training.observe import ObservationConfig
from hwhup_core.training.recording_pools import joints_of_label, read_mask, weak_pool_of_recording
from hwhup_core.training.recording_split import BORDER, Moment, split_by_time
from hwhup_core.types import Frame, Intrinsics

CAMERA = Intrinsics(100.0, 100.0, 40.0, 30.0, 80, 60)
BED, BODY = 1.5, 1.3
NAMES = (*SLP_14, 'head', 'pelvis')
LYING = np.array([
    (60, 35), (52, 34), (44, 33), (44, 27), (52, 26), (60, 25), (40, 40), (35, 38), (30, 34), (30, 26), (35, 22),
    (40, 20), (29, 30), (22, 30),
], float) + 0.5  # fmt: skip
"""A lying person's joints in the order of SLP, pixels."""


def moments(times):
    return [Moment(f'{number:06d}', float(time)) for number, time in enumerate(times)]


@pytest.mark.parametrize('seed', range(8))
def test_frames_of_different_parts_are_a_gap_apart(seed):
    rng = np.random.default_rng(seed)
    count, gap = int(rng.integers(80, 400)), float(rng.choice([0.5, 2.0, 5.0]))
    times = np.cumsum(rng.choice([0.1, 1.0, 4.0, 30.0], count)) + 1e9
    order = rng.permutation(count)
    split = split_by_time([moments(times)[place] for place in order], gap)
    parts = [
        np.array([times[int(name)] for name in part]) for part in (split.training, split.validation, split.held_out)
    ]
    for first in range(3):
        for second in range(first):
            assert np.abs(parts[first][:, None] - parts[second]).min() >= gap
        assert (np.diff(parts[first]) > 0).all(), 'in the order of time'
    names = [*split.training, *split.validation, *split.held_out]
    assert len(names) == len(set(names)) == count - split.left_out[BORDER]
    assert 0.1 < len(split.held_out) / count < 0.3
    assert set(split.blocks) == set(split.held_out)
    assert len(set(split.blocks.values())) >= 2


def test_blocks_of_time_are_whole():
    split = split_by_time(moments(np.arange(100.0)), 2.0)
    held = np.array([int(name) for name in split.held_out])
    for block in set(split.blocks.values()):
        own = held[[split.blocks[f'{place:06d}'] == block for place in held]]
        assert (np.diff(own) == 1).all()
    assert len(set(split.blocks.values())) == 3  # 99 s in blocks of 6 s are 16, of which 2, 7 and 12 are held out.


def test_what_people_labelled_is_held_out_where_time_allows():
    drawn = {f'{place:06d}' for place in range(24, 30)}
    split = split_by_time(moments(np.arange(0.0, 120.0, 2.0)), 1.0, drawn)
    usual = split_by_time(moments(np.arange(0.0, 120.0, 2.0)), 1.0)
    assert len(drawn & set(split.held_out)) > len(drawn & set(usual.held_out))
    assert len(split.held_out) == pytest.approx(len(usual.held_out), abs=3)


@pytest.mark.parametrize('times', [[], np.arange(20.0), np.arange(60) * 0.05])
def test_too_few_frames_or_too_short_a_time_are_refused(times):
    with pytest.raises(ConfigError, match=r'Record or label more'):
        split_by_time(moments(times), 2.0)


def label(joints=SLP_14, pixels=LYING, visible=None, labelled=None, confidence=None, frame='000000', **more):
    count = len(joints)
    ones = np.ones(count)
    return FrameLabel(
        frame=frame,
        joints=tuple(joints),
        pixels=pixels,
        labelled=ones > 0 if labelled is None else labelled,
        visible=ones if visible is None else visible,
        confidence=ones if confidence is None else confidence,
        **{'source': 'automatic', **more},
    )


def test_joints_go_by_name_with_visibility_and_confidence():
    order = np.random.default_rng(0).permutation(14)
    visible, sure = np.arange(14.0) % 2, np.linspace(0.3, 1.0, 14)
    names = tuple(SLP_14[place] for place in order)
    found = joints_of_label(label(names, LYING[order], visible[order], confidence=sure[order]), 0.8)
    assert found.joints.names == NAMES
    assert np.array_equal(found.joints.pixels[:14], LYING)
    assert np.array_equal(found.joints.visible[:14], visible > 0)
    assert np.allclose(found.confidence[:14], sure)
    hips, head = [names_of('right_hip'), names_of('left_hip')], [names_of('thorax'), names_of('head_top')]
    assert np.allclose(found.joints.pixels[15], LYING[hips].mean(axis=0))
    assert np.allclose(found.confidence[14:], [sure[head].min(), sure[hips].min()])


def names_of(name):
    return SLP_14.index(name)


def test_coco_has_a_thorax_between_the_shoulders_and_no_head():
    pixels = np.random.default_rng(1).uniform(5, 50, (17, 2))
    visible = np.ones(17)
    visible[COCO_17.index('left_shoulder')] = 0
    sure = np.full(17, 0.9)
    sure[COCO_17.index('right_shoulder')] = 0.4
    found = joints_of_label(label(COCO_17, pixels, visible, confidence=sure), 0.8)
    thorax = NAMES.index('thorax')
    both = [COCO_17.index(f'{side}_shoulder') for side in ('left', 'right')]
    assert np.allclose(found.joints.pixels[thorax], pixels[both].mean(axis=0))
    assert not found.joints.visible[thorax]
    assert found.confidence[thorax] == 0.4
    for name in ('head', 'head_top'):
        assert np.isnan(found.joints.pixels[NAMES.index(name)]).all()
        assert found.confidence[NAMES.index(name)] == 0
    assert np.allclose(found.joints.pixels[NAMES.index('left_knee')], pixels[COCO_17.index('left_knee')])


@pytest.fixture(scope='module')
def recording(tmp_path_factory):
    """Return two frames of a person of thin limbs on a bed; the second has no measured depth."""
    folder = tmp_path_factory.mktemp('recording') / 'room'
    depth = np.full((60, 80), BED, np.float32)
    limbs = [
        (0, 1),
        (1, 2),
        (2, 3),
        (3, 4),
        (4, 5),
        (6, 7),
        (7, 8),
        (8, 9),
        (9, 10),
        (10, 11),
        (12, 13),
        (2, 8),
        (3, 9),
    ]
    for one, other in limbs:
        ends = [tuple(int(value) for value in LYING[place]) for place in (one, other)]
        cv2.line(depth, *ends, BODY, 3)
    color = np.repeat((200 * (depth < BED)).astype(np.uint8)[..., None], 3, axis=2)
    card = RecordingCard(camera='hand-made', frame_id='camera', intrinsics=CAMERA, color='png')
    with RecordingWriter(folder, card) as writer:
        writer.write(Frame(1, 'camera', color, depth, intrinsics=CAMERA), {})
        writer.write(Frame(2, 'camera', color, np.zeros_like(depth), intrinsics=CAMERA), {})
    (folder / 'labels' / 'masks').mkdir(parents=True)
    mask = np.zeros((60, 80), np.uint8)
    mask[20:40, 20:60] = 255
    cv2.imwrite(str(folder / 'labels' / 'masks' / '000000.png'), mask)
    cv2.imwrite(str(folder / 'labels' / 'masks' / 'small.png'), mask[:30])
    return open_recording(folder)


def pool_of(recording, one, modalities=(Modality.RGB,), frames=('000000',)):
    return weak_pool_of_recording(recording, {one.frame: one}, frames, ObservationConfig(picture=64), modalities)


def test_depth_and_mask_come_from_the_frame(recording):
    visible = np.ones(14)
    visible[0] = 0
    sure = np.linspace(0.5, 1.0, 14)
    pool, left_out = pool_of(recording, label(visible=visible, confidence=sure, mask='masks/000000.png'))
    assert left_out == {}
    assert (pool.joints, pool.names) == (NAMES, ('000000',))
    labels = pool.labels
    assert labels.visibility[0].tolist() == [0, *[1] * 12, 0, 1, 1], 'the top of the head takes no part'
    assert np.allclose(labels.confidence[0, :13], sure[:13])
    assert labels.confidence[0, 13] == 0
    assert np.allclose(labels.proxies[0, 1:13, 2], BODY, atol=2e-3)
    assert pool.pictures.depth is None
    assert pool.pictures.color.shape == (1, 64, 64, 3)
    # The picture is twice the extent of 38.. pixels, so the mask of 20 x 40 pixels has a known share of it.
    extent = np.ptp(LYING, axis=0).max()
    assert labels.mask[0].mean() == pytest.approx(20 * 40 / (2 * extent) ** 2, rel=0.1)
    larger, _ = pool_of(recording, label())
    thin = larger.labels.mask[0].sum()
    assert 0 < thin < labels.mask[0].sum(), 'without a labelled mask the depth makes one'


def test_depth_can_be_the_input(recording):
    pool, _ = pool_of(recording, label(), (Modality.DEPTH,))
    assert pool.pictures.color is None
    measured = pool.pictures.depth[pool.pictures.depth > 0] * 1e-4
    assert (measured.min(), measured.max()) == pytest.approx((BODY, BED), abs=2e-3)


def test_unusable_frames_are_counted_or_named(recording):
    both = {name: label(frame=name) for name in ('000000', '000001')}
    pool, left_out = weak_pool_of_recording(
        recording, both, ('000000', '000001'), ObservationConfig(picture=64), (Modality.RGB,)
    )
    assert (len(pool), dict(left_out)) == (1, {'no_depth': 1})
    with pytest.raises(HwhupError, match=r'None of the 1 labelled frames.*000001: Its depth'):
        pool_of(recording, label(frame='000001'), frames=('000001',))
    with pytest.raises(HwhupError, match='no infrared'):
        pool_of(recording, label(), (Modality.INFRARED,))
    with pytest.raises(HwhupError, match='labelled visible'):
        pool_of(recording, label(visible=np.zeros(14)))


@pytest.mark.parametrize(
    ('mask', 'message'),
    [('masks/small.png', r'is \(30, 80\)'), ('masks/none.png', 'no readable'), ('../../x', 'below')],
)
def test_wrong_masks_are_refused(recording, mask, message):
    with pytest.raises(AssetError, match=message):
        read_mask(recording.folder, replace(label(), mask=mask), (60, 80))
