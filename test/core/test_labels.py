"""Labels of a recording: what counts, what a crash costs, what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hwhup_core.errors import AssetError
from hwhup_core.labeling.labels import FrameLabel, LabelStore


def label(frame='000001', source='automatic', x=10.5, visible=(1.0, 0.0, 0.0), **changes) -> FrameLabel:
    return replace(
        FrameLabel(
            frame=frame,
            joints=('left_knee', 'right_knee', 'head_top'),
            pixels=np.array([[x, 20.25], [30.0, 40.0], [0.0, 0.0]]),
            labelled=np.array([True, True, False]),
            visible=np.array(visible),
            confidence=np.array([1.0, 0.5, 0.0]),
            source=source,
        ),
        **changes,
    )


def test_what_was_put_is_read_back(tmp_path: Path):
    put = label(note='blanket', mask='masks/000001.png')
    LabelStore(tmp_path).put(put)
    found = LabelStore(tmp_path).current()['000001']
    assert found.joints == put.joints
    for name in ('pixels', 'labelled', 'visible', 'confidence'):
        np.testing.assert_array_equal(getattr(found, name), getattr(put, name))
    assert (found.source, found.status, found.mask, found.note) == (put.source, put.status, put.mask, put.note)


def test_people_override_imports_and_these_the_automatic_ones(tmp_path: Path):
    store = LabelStore(tmp_path)
    store.put(label(source='manual', x=3.0))
    store.put(label(source='imported', x=2.0))
    store.put(label(source='automatic', x=1.0))
    store.put(label(frame='000002', source='automatic', x=1.0))
    store.put(label(frame='000002', source='automatic', x=1.5))
    found = {frame: each.pixels[0, 0] for frame, each in LabelStore(tmp_path).current().items()}
    assert found == {'000001': 3.0, '000002': 1.5}


def test_rejected_and_empty_labels_are_not_usable(tmp_path: Path):
    store = LabelStore(tmp_path)
    store.put(label('000001'))
    store.put(label('000001', 'manual', status='rejected'))
    store.put(label('000002', labelled=np.zeros(3, bool)))
    store.put(label('000003'))
    assert list(store.usable()) == ['000003']
    store.put(label('000001', 'manual', status='accepted'))
    assert list(store.usable()) == ['000001', '000003']


@pytest.mark.parametrize('lost', [1, 7, 60])
def test_a_torn_line_costs_that_label_alone(tmp_path: Path, lost: int):
    store = LabelStore(tmp_path)
    store.put(label('000001'))
    store.put(label('000002'))
    file = tmp_path / 'labels' / 'labels.jsonl'
    file.write_bytes(file.read_bytes()[: -1 - lost])
    again = LabelStore(tmp_path)
    assert list(again.current()) == ['000001']
    again.put(label('000003'))
    assert list(LabelStore(tmp_path).current()) == ['000001', '000003']


def test_a_broken_line_is_named(tmp_path: Path):
    LabelStore(tmp_path).put(label())
    file = tmp_path / 'labels' / 'labels.jsonl'
    file.write_text('{"frame": 1}\n' + file.read_text())
    with pytest.raises(AssetError, match=r'labels\.jsonl, line 1'):
        LabelStore(tmp_path)


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        ({'visible': np.array([1.0, np.nan, 0.0])}, 'needs to know'),
        ({'visible': np.array([1.0, 0.5, 0.0])}, 'expected 0 or 1'),
        ({'pixels': np.full((3, 2), np.nan)}, 'not finite'),
        ({'joints': ('left_knee', 'left_knee', 'head_top')}, 'twice'),
    ],
)
def test_a_label_that_cannot_teach_is_refused(changes: dict, expected: str):
    with pytest.raises(AssetError, match=expected):
        label(**changes)
