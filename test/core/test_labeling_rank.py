"""Ranking: bad frames first, duplicates last, what people labelled after everything else."""

import math

import numpy as np
import pytest

from hwhup_core.body.joints import SLP_14
from hwhup_core.data.recording import open_recording
from hwhup_core.data.recording_card import RecordingCard
from hwhup_core.data.recording_writer import RecordingWriter
from hwhup_core.errors import ConfigError
from hwhup_core.labeling.judgements import Judgement
from hwhup_core.labeling.labels import FrameLabel
from hwhup_core.labeling.rank import RankConfig, rank_frames, read_ranking, write_ranking
from hwhup_core.types import Frame, Intrinsics

CAMERA = Intrinsics(50.0, 50.0, 24.0, 18.0, 48, 36)


def scene(place):
    """Return the depth of a bed with a box at a place."""
    depth = np.full((36, 48), 1.3, np.float32)
    depth[8:20, place : place + 10] = 1.1
    return depth


@pytest.fixture
def recording(tmp_path):
    """Return four scenes, then the second one again, then the first."""
    card = RecordingCard('c', 'optical', CAMERA, color='none')
    with RecordingWriter(tmp_path / 'r', card, sync_every=100) as writer:
        for i, place in enumerate((0, 12, 24, 36, 12, 0)):
            estimate = {'state': 'ESTIMATED', 'confidence': 0.9, 'aligned_depth_error': 0.01}
            writer.write(Frame(i + 1, 'optical', depth=scene(place), intrinsics=CAMERA), {'estimate': estimate})
    return open_recording(tmp_path / 'r')


def judged(frame, reason='', confidence=0.95, error=0.01):
    return Judgement(frame, 'w', reason, confidence, error, False)


def label(frame, source='automatic', status='unreviewed', confidence=0.95):
    ones = np.ones(14)
    return FrameLabel(frame, SLP_14, np.ones((14, 2)), ones > 0, ones, confidence * ones, source, status)


def names(ranked):
    return [one.frame for one in ranked]


def test_bad_frames_first_and_duplicates_last(recording):
    units = [record.unit for record in recording.frames]
    judgements = {unit: judged(unit) for unit in units}
    judgements['000002'] = judged('000002', 'depth_disagrees', 0.6, 0.09)
    ranked = rank_frames(recording, {unit: label(unit) for unit in units}, judgements)
    assert names(ranked)[0] == '000002'
    assert any('depth_disagrees' in reason for reason in ranked[0].reasons)
    assert set(names(ranked)[-2:]) == {'000004', '000005'} or {one.score for one in ranked[-2:]} == {0.0}
    assert ranked[-1].score == pytest.approx(0, abs=1e-6)
    assert sorted(names(ranked)) == units


def test_each_doubt_moves_a_frame_up(recording):
    units = [record.unit for record in recording.frames]
    labels = {unit: label(unit) for unit in units}
    calm = {unit: judged(unit) for unit in units}
    worse = {**calm, '000003': judged('000003', error=0.05)}
    assert names(rank_frames(recording, labels, worse))[0] == '000003'
    assert names(rank_frames(recording, {**labels, '000003': label('000003', confidence=0.6)}, calm))[0] == '000003'
    assert names(rank_frames(recording, labels, calm, {'000003': 0.2, '000001': 0.02}))[0] == '000003'


def test_what_people_labelled_comes_last_and_makes_its_twin_old(recording):
    units = [record.unit for record in recording.frames]
    labels = {unit: label(unit) for unit in units}
    labels['000001'] = label('000001', 'manual', 'accepted')
    ranked = rank_frames(recording, labels, {unit: judged(unit) for unit in units})
    assert names(ranked)[-1] == '000001'
    assert ranked[-1].reasons == ('labelled by a person',)
    twin = next(one for one in ranked if one.frame == '000004')
    assert twin.score == pytest.approx(0, abs=1e-6)
    rejected = rank_frames(recording, {'000000': label('000000', status='rejected')}, {})
    assert names(rejected)[-1] == '000000'


def test_without_judgements_the_recorders_estimates_count(recording):
    ranked = rank_frames(recording, {}, {})
    assert all('not looked at yet' not in one.reasons for one in ranked)
    assert all(math.isfinite(one.score) and 0 <= one.score <= 1 for one in ranked)


def test_the_order_is_kept_on_disk(recording):
    ranked = rank_frames(recording, {}, {})
    path = write_ranking(recording.folder, ranked)
    assert read_ranking(recording.folder) == names(ranked)
    path.write_text('{')
    assert read_ranking(recording.folder) == []


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ConfigError):
        RankConfig(least=2.0)
    with pytest.raises(ConfigError):
        RankConfig(worst_confidence=1.0)
