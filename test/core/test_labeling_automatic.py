"""Automatic labels of a synthetic crib: near the hidden truth, honest about what is seen, every frame accounted for."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from hwhup_core.body.joints import SLP_14
from hwhup_core.data.recording import open_recording
from hwhup_core.data.recording_card import RecordingCard
from hwhup_core.data.recording_writer import RecordingWriter
from hwhup_core.errors import ConfigError
from hwhup_core.geometry.cameras import project
from hwhup_core.inference import EngineConfig, build_engine
from hwhup_core.labeling.automatic import AutomaticConfig, LeftOut, automatic_labels, label_recording
from hwhup_core.labeling.judgements import append_judgement, read_judgements
from hwhup_core.labeling.labels import FrameLabel, LabelStore
from hwhup_core.labeling.placed import SMPL_BEHIND
from hwhup_core.labeling.vis_vote import combined, seen_by_visnet
from hwhup_core.networks.packing import InputConfig
from hwhup_core.networks.visnet import VisNet
from hwhup_core.networks.visnet_checkpoint import VisNetCard
from hwhup_core.synthetic.stream import CribStream, StreamConfig

LIMBS = slice(0, 13)  # The truth has no top of the head.
CRIB = 6
SECOND = 10**9


@pytest.fixture(scope='module')
def engine():
    return build_engine(EngineConfig())


@pytest.fixture(scope='module')
def crib(tmp_path_factory):
    """Return a recording of some frames of a crib, one empty, one of a mattress; and the truth."""
    stream = CribStream(StreamConfig(), 3, infant_seed=17)
    pairs = [stream.frame(SECOND + i * SECOND // 2, 3 + i * 0.5) for i in range(CRIB)]
    folder = tmp_path_factory.mktemp('crib') / 'recording'
    card = RecordingCard('synthetic', StreamConfig().frame_id, stream.intrinsics)
    with RecordingWriter(folder, card, sync_every=100) as writer:
        for frame, _ in pairs:
            writer.write(frame, {})
        last = pairs[-1][0]
        hole = replace(last, depth=np.zeros_like(last.depth), stamp_ns=20 * SECOND)
        writer.write(hole, {})
        writer.write(replace(hole, depth=np.full_like(last.depth, 1.3), stamp_ns=40 * SECOND), {})
    return folder, [truth for _, truth in pairs]


@pytest.fixture(scope='module')
def labelled(crib, engine):
    """Return the labels of all frames, refined, and as estimated whatever the depth says."""
    recording = open_recording(crib[0])
    estimated = AutomaticConfig(refine=None, max_aligned_depth_error_m=1.0, min_confidence=0.0)
    return [list(automatic_labels(recording, engine, config)) for config in (AutomaticConfig(), estimated)]


def pixel_errors(labels, truths):
    wanted = [truth.pixels[list(SMPL_BEHIND)] for truth in truths]
    return np.array(
        [np.linalg.norm(label.pixels - pixels, axis=1)[LIMBS].mean() for label, pixels in zip(labels, wanted)]
    )


def test_labels_are_near_the_truth_and_nearer_when_refined(labelled, crib):
    refined, estimated = (pixel_errors(labels[:CRIB], crib[1]) for labels in labelled)
    of_another_infant_turned = pixel_errors(
        [replace(label, pixels=label.pixels[::-1]) for label in labelled[0][:CRIB]], crib[1]
    )
    assert refined.mean() < 20
    assert refined.mean() < estimated.mean()
    assert of_another_infant_turned.mean() > 40


def test_visibility_is_that_of_the_truth_mostly(labelled, crib):
    flags = np.array([label.visible[LIMBS] for label in labelled[0][:CRIB]])
    truth = np.array([each.visibility[list(SMPL_BEHIND)][LIMBS] for each in crib[1]])
    assert (flags == truth).mean() > 0.75


def test_frames_without_depth_or_person_are_left_out(labelled):
    assert labelled[0][CRIB:] == [LeftOut('000006', 'no_depth'), LeftOut('000007', 'no_person')]


def test_masks_lie_on_the_body(labelled, crib):
    folder, truths = crib
    mask = cv2.imread(str(folder / 'labels' / labelled[0][0].mask), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (480, 640)
    assert set(np.unique(mask)) == {0, 255}
    column, row = truths[0].pixels[0].astype(int)  # The pelvis.
    assert mask[row, column] == 255
    assert 0.01 < (mask > 0).mean() < 0.2


def test_an_arm_in_front_hides_a_joint(engine, crib):
    from hwhup_core.labeling.automatic import _Labeller

    recording = open_recording(crib[0])
    frame = recording.frame(2)
    labeller = _Labeller(engine, AutomaticConfig(refine=None, max_aligned_depth_error_m=1.0), None)
    engine.reset()
    before = labeller.judge('a', frame, frame.intrinsics).label
    joint = int(np.flatnonzero(before.visible)[0])
    depth = frame.depth.copy()
    x, y = before.pixels[joint].astype(int)
    cv2.circle(depth, (int(x), int(y)), 12, float(depth[y, x] - 0.2), -1)
    placed = labeller.body.placed_as(engine(frame)[0])
    seen = labeller.body.seen(placed, depth, labeller.body.compared(placed, depth, frame.intrinsics), frame.intrinsics)
    assert seen[joint] == 0
    far = np.linalg.norm(project(placed.points, frame.intrinsics) - before.pixels[joint], axis=1) > 40
    untouched = labeller.body.seen(
        placed, frame.depth, labeller.body.compared(placed, frame.depth, frame.intrinsics), frame.intrinsics
    )
    np.testing.assert_array_equal(seen[far], untouched[far])


def test_counts_add_up_and_a_stopped_run_goes_on(crib, engine, tmp_path):
    folder = crib[0]
    first = label_recording(folder, engine, AutomaticConfig(), limit=3)
    assert (first.labelled, first.skipped, first.refined) == (3, 0, 3)
    people = FrameLabel('000001', ('left_knee',), np.ones((1, 2)), np.ones(1, bool), np.ones(1), np.ones(1), 'manual')
    LabelStore(folder).put(people)
    rest = label_recording(folder, engine, AutomaticConfig())
    assert (rest.labelled, rest.skipped) == (CRIB - 3, 3)
    assert rest.left_out == {'no_depth': 1, 'no_person': 1}
    judged = read_judgements(folder)
    assert len(judged) == CRIB + 2
    assert judged['000006'].reason == 'no_depth'
    store = LabelStore(folder)
    assert set(store.usable()) == {f'{i:06d}' for i in range(CRIB)}
    assert store.current()['000001'].source == 'manual'
    strict = label_recording(folder, engine, AutomaticConfig(min_confidence=1.0), again=True, limit=1)
    assert strict.left_out == {'low_confidence': 1}
    assert '000000' not in LabelStore(folder).usable()


def test_a_torn_judgement_is_written_over(crib, tmp_path):
    judgement = replace(next(iter(read_judgements(crib[0]).values())), frame='a')
    append_judgement(tmp_path, judgement)
    path = tmp_path / 'labels' / 'automatic.jsonl'
    path.write_bytes(path.read_bytes() + b'{"frame":"b","lab')
    assert set(read_judgements(tmp_path)) == {'a'}
    append_judgement(tmp_path, replace(judgement, frame='c', aligned_depth_error=float('nan')))
    assert set(read_judgements(tmp_path)) == {'a', 'c'}


def test_a_recording_without_camera_is_refused(crib, engine):
    recording = open_recording(crib[0])
    blind = replace(recording, card=replace(recording.card, intrinsics=None))
    with pytest.raises(ConfigError, match='no intrinsics'):
        next(automatic_labels(blind, engine, AutomaticConfig()))


def test_votes_by_hand():
    nan = np.nan
    geometry = np.array([1.0, 1.0, 0.0, 0.0, nan, nan, nan, 1.0])
    logits = np.array([-1.0, -5.0, 1.0, 5.0, 1.0, -1.0, nan, nan])
    np.testing.assert_array_equal(combined(geometry, logits), [1, 0, 0, 1, 1, 0, nan, 1])


def test_visnet_is_asked_about_the_limbs(crib):
    torch.manual_seed(0)
    card = VisNetCard(InputConfig(), VisNet().config, 'Apache-2.0')
    frame = open_recording(crib[0]).frame(0)
    logits = seen_by_visnet(frame, crib[1][0].pixels[list(SMPL_BEHIND)], VisNet().eval(), card)
    unknown = {name for name, logit in zip(SLP_14, logits) if np.isnan(logit)}
    assert unknown == {'thorax', 'head_top'}
