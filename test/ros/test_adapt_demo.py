"""The numbers of `make adapt-demo`: arguments, joint error of each set of weights, what was lost, the table."""

import json
import math
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from hwhup_ros.msg import RecorderStatus

from hwhup_core.recording.config import NoveltyConfig
from hwhup_core.types import State
from hwhup_ros import adapt_demo
from hwhup_ros.adapt_demo import BEFORE, DEPTH_WEIGHTS, DemoConfig, parse, table
from hwhup_ros.diagnostics import Counts
from hwhup_ros.recorder_config import RecorderNodeConfig
from hwhup_ros.report_numbers import BLOCK_S, PoseRecord


def answer(time_s, error_m, state=State.ESTIMATED, weights_hash='new'):
    return PoseRecord(time_s, 0.03, state, math.nan, error_m, weights_hash)


def figure(value, low, high):
    return {'value': value, 'low': low, 'high': high}


def side(joint, depth):
    return {'joint_error_mm': figure(*joint), 'aligned_depth_error_mm': figure(*depth)}


def content(**given):
    frames = {'recorded': 240, 'labelled': 231, 'lost': 2}
    return {
        'better': True,
        'before': side((93.04, 80.0, 105.0), (38.0, 36.0, 40.0)),
        'after': side((51.0, 45.0, 57.26), (33.0, 31.0, 35.0)),
        'frames': frames,
    } | given


def test_arguments_and_their_defaults():
    usual = parse([])
    assert usual.out == Path('out/adapt')
    assert usual.record_s / usual.min_interval_s > 100, 'frames enough to split by time'
    assert usual.turns * usual.turn_s >= 2 * BLOCK_S, 'pieces enough for an interval'
    given = ['--out', 'x', '--record', '9', '--turns', '1', '--turn', '8', '--hours', '0.1', '--min-interval', '1']
    assert parse(given) == DemoConfig(Path('x'), 9.0, 1, 8.0, 0.1, 1.0)


def test_a_wrong_argument_ends_it_with_code_2(capsys):
    with pytest.raises(SystemExit) as ended:
        parse(['--turns', 'often'])
    assert ended.value.code == 2
    assert 'often' in capsys.readouterr().err


def test_the_parameters_reach_the_nodes_as_a_parameter_file(tmp_path):
    written = json.dumps(adapt_demo._parameters(parse([]), tmp_path))
    read = {name: each['ros__parameters'] for name, each in yaml.safe_load(written).items()}
    assert read['/**/pose_node'] == {'engine': {'weights': DEPTH_WEIGHTS}}
    recorder = read['/**/recorder_node']
    assert recorder['folder'] == str(tmp_path)
    assert recorder['privacy'] == 'full', 'a blurred head would be another picture than the one that is shown later'
    assert set(recorder['novelty']) <= {field.name for field in fields(NoveltyConfig)}
    assert set(recorder) <= {field.name for field in fields(RecorderNodeConfig)}
    assert all(isinstance(value, float) for value in recorder['novelty'].values()), 'rclpy takes no int for a double'


def test_the_joint_error_is_the_mean_of_what_was_answered():
    moments = [0.0, 1.0, 2.0, BLOCK_S + 1.0, BLOCK_S + 2.0]
    records = [answer(moment, error) for moment, error in zip(moments, (0.04, 0.05, math.nan, 0.06, 0.07))]
    records[2] = answer(2.0, math.nan, State.NO_PERSON)
    found = adapt_demo._joint_error(records)
    error = found['joint_error_mm']
    assert (error['value'], error['frames'], error['piece_s']) == (55.0, 4, BLOCK_S)
    # Two pieces, whose means are 45 and 65 mm: a quarter of the draws takes the first one twice, a quarter the second.
    assert (error['low'], error['high']) == (45.0, 65.0)
    assert found['states']['ESTIMATED'] == 4
    assert found['states']['NO_PERSON'] == 1


def test_one_piece_of_time_has_no_interval():
    error = adapt_demo._joint_error([answer(0.1 * i, 0.05) for i in range(20)])['joint_error_mm']
    assert (error['value'], error['low'], error['high']) == (50.0, None, None)


def test_no_answer_is_no_number():
    error = adapt_demo._joint_error([])['joint_error_mm']
    assert (error['value'], error['low'], error['high'], error['frames']) == (None, None, None, 0)


@pytest.fixture
def run(tmp_path):
    """Return the folder of an adaptation that says it is better."""
    report = {
        'verdict': 'better',
        'before': {'aligned_depth_error_mm': figure(38.0, 36.0, 40.0)},
        'after': {'aligned_depth_error_mm': figure(33.0, 31.0, 35.0)},
        'frames': {'labelled': 90, 'training': 50, 'validation': 10, 'held_out': 20},
    }
    (tmp_path / 'report.json').write_text(json.dumps(report))
    return tmp_path


def turns(after_m):
    """Return two turns of each set of weights; frames of foreign weights count for neither."""
    before = [answer(0.5 * i, 0.09 + 0.01 * (i % 2), weights_hash='old') for i in range(40)]
    after = [answer(20 + 0.5 * i, after_m + 0.01 * (i % 2)) for i in range(40)]
    return [*before, *after, answer(41.0, 9.0, weights_hash='depth')]


@pytest.mark.parametrize(('after_m', 'better'), [(0.05, True), (0.09, False), (0.2, False)])
def test_better_is_lower_by_more_than_both_intervals(run, after_m, better):
    status = RecorderStatus(frames_in=300, frames_written=100, reasons=['too_soon'], reason_counts=[200])
    found = adapt_demo._content(parse([]), run, ('old', 'new'), turns(after_m), status, [])
    assert found['better'] == better
    assert found['before']['joint_error_mm']['frames'] == found['after']['joint_error_mm']['frames'] == 40
    assert (found['before']['weights_hash'], found['after']['weights_hash']) == ('old', 'new')
    assert found['before']['aligned_depth_error_mm']['value'] == 38.0
    assert found['frames']['not_kept'] == {'too_soon': 200}
    assert (found['frames']['recorded'], found['frames']['lost'], found['frames']['held_out']) == (100, 0, 20)
    assert json.loads(json.dumps(found)) == found, 'it must be JSON'
    assert ('yes' in table(found)) == better


def test_without_an_interval_nothing_is_better(run):
    records = [answer(0.1, 0.09, weights_hash='old'), answer(0.2, 0.01)]
    assert not adapt_demo._content(parse([]), run, ('old', 'new'), records, RecorderStatus(), [])['better']


def test_losses_are_named_by_stream_and_reason():
    counts = Counts(
        received={'image': 9}, answered={'image': 5}, dropped={'image': {'superseded': 3, 'late': 1}}, lost={}
    )
    assert adapt_demo._lost(counts) == {'image superseded': 3, 'image late': 1}


def test_the_table_has_both_sides_in_columns():
    lines = table(content()).splitlines()
    assert '93.0 mm (80.0 to 105.0)' in lines[1]
    assert '51.0 mm (45.0 to 57.3)' in lines[1]
    assert len({line.index(word) for line, word in zip(lines[:3], ('after', '51.0', '33.0'))}) == 1
    assert '240 / 231 / 2' in lines[3]
    assert lines[4].rstrip().endswith('yes')


def test_what_is_not_known_is_a_question_mark():
    unknown = side((None, None, None), (None, None, None))
    assert '? mm (? to ?)' in table(content(before=unknown, better=False))


def test_a_command_that_fails_ends_the_demo_with_a_line(tmp_path, capsys):
    adapt_demo._command(['config', 'list'], tmp_path / 'store')
    with pytest.raises(adapt_demo.HwhupError, match=r'recording check .* ended with code 2'):
        adapt_demo._command(['recording', 'check', str(tmp_path / 'nothing')], tmp_path / 'store')


def test_wrong_input_is_one_line_and_code_2(monkeypatch, capsys):
    def fails(_):
        raise adapt_demo.HwhupError('no crib')

    monkeypatch.setattr(adapt_demo, 'run_demo', fails)
    assert adapt_demo.main([]) == 2
    assert capsys.readouterr().err == 'adapt_demo: error: no crib\n'
    assert BEFORE != DEPTH_WEIGHTS
