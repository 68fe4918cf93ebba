"""Reports: what is written is what was measured, strict JSON, every figure defined."""

import json

import numpy as np
import pytest

from hwhup_core.body.joints import SMPL_24
from hwhup_core.errors import HwhupError
from hwhup_core.evaluation.report import DEFINITIONS, JSON_NAME, MARKDOWN_NAME, markdown, report, write_report
from hwhup_core.evaluation.scores import METRICS, FrameTags, PersonScores, by_tag, select, summary
from hwhup_core.synthetic.domain import DomainConfig
from hwhup_core.types import Posture


def scores():
    """Return eight frames of four subjects under two covers; nothing rendered in the last."""
    count = 8
    rng = np.random.default_rng(0)
    columns = {name: rng.uniform(10, 90, count) for name in METRICS}
    for name in ('mask_iou', 'pck', 'pckh'):
        columns[name] = rng.uniform(size=count)
    for name in METRICS[:3]:
        columns[name][-1] = np.nan
    return PersonScores(
        **columns,
        joint_errors_mm=rng.uniform(10, 90, (count, 24)),
        skipped=np.arange(count) == count - 1,
        tags=FrameTags(
            subject=np.arange(count) // 2 + 1,
            number=np.arange(count) % 2 + 1,
            cover=np.array(['uncover', 'cover2'] * 4),
            posture=np.array([Posture.SUPINE, Posture.PRONE] * 4).astype(np.int64),
        ),
    )


def test_the_report_comes_back(tmp_path):
    write_report(tmp_path / 'deep', scores(), 'A test', {'seed': 3, 'domain': DomainConfig(), 'loss': float('nan')})
    content = json.loads((tmp_path / 'deep' / JSON_NAME).read_text())
    assert content == report(scores(), 'A test', {'seed': 3, 'domain': DomainConfig(), 'loss': float('nan')})
    assert (tmp_path / 'deep' / MARKDOWN_NAME).read_text() == markdown(content)
    assert content['provenance']['domain']['kind'] == 'bed'
    assert content['provenance']['loss'] is None
    figures = summary(scores())
    for name in METRICS:
        assert content['overall'][name]['low'] == figures[name].low
        assert content['covers']['cover2'][name]['mean'] == by_tag(scores(), 'cover')['cover2'][name].mean
    assert set(content['joints_mm']) == set(SMPL_24)
    assert set(content['postures']) == {'supine', 'prone'}


def test_skipped_frames_are_counted_and_named():
    content = report(scores(), 'A test', {})
    assert content['skipped_frames'] == [{'subject': 4, 'number': 2, 'cover': 'cover2'}]
    assert content['overall']['skipped']['mean'] == 1 / 8
    assert content['overall']['aligned_depth_error_mm']['count'] == 7
    assert content['overall']['mpjpe_mm']['count'] == 8
    mean = content['overall']['aligned_depth_error_mm']['mean']
    assert content['released_mean_mm'] == pytest.approx((7 * mean - 1) / 8)
    assert '1 skipped (subject 4 pose 2 cover2)' in markdown(content)


def test_every_figure_is_defined_and_shown():
    text = markdown(report(scores(), 'A test', {}))
    assert set(METRICS) | {'skipped'} <= set(DEFINITIONS)
    for name in (*METRICS, 'left shoulder to right hip', 'head top to thorax', *SMPL_24, 'cover2', 'prone'):
        assert name in text


def test_one_subject_has_no_interval():
    alone = select(scores(), np.array([6, 7]))
    content = report(alone, 'A test', {})
    assert content['overall']['mpjpe_mm']['low'] is None
    assert content['overall_by_frame']['mpjpe_mm']['low'] is not None
    assert content['overall']['mpjpe_mm']['mean'] == pytest.approx(alone.mpjpe_mm.mean())
    assert '| nan' not in markdown(content)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(HwhupError, match='Cannot write the report'):
        write_report(tmp_path / 'file' / 'deep', scores(), 'A test', {})


def test_nothing_to_report_on():
    with pytest.raises(HwhupError, match='at least one'):
        report(select(scores(), np.zeros(8, bool)), 'A test', {})
