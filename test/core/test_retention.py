"""Recordings whose time is over: found by their card, deleted alone, and nothing beside them."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest

from hwhup_core.config_io import load_config, save_config
from hwhup_core.data.recording import locked
from hwhup_core.data.recording_card import CARD_FILE, RecordingCard
from hwhup_core.data.recording_writer import RecordingWriter
from hwhup_core.data.retention import delete_recording, expiry, survey_retention
from hwhup_core.errors import AssetError, ConfigError
from hwhup_core.types import Frame

NOW = datetime(2026, 6, 15, 12, 0, tzinfo=timezone.utc)
CARD = RecordingCard('D435', 'optical', None, color='none')


def record(folder, days, created=NOW - timedelta(days=10), count=2):
    text = created if isinstance(created, str) else created.isoformat()
    with RecordingWriter(folder, replace(CARD, retention_days=days, created=text)) as writer:
        for number in range(count):
            writer.write(Frame(number + 1, 'optical', depth=np.ones((3, 4), np.float32)), {})
    return folder


def expired_names(root, now=NOW):
    return [each.folder.name for each in survey_retention(root, now).expired]


def test_time_counts_from_the_first_start(tmp_path):
    record(tmp_path / 'a', 9.0)
    record(tmp_path / 'b', 10.5)
    record(tmp_path / 'c', None)
    record(tmp_path / 'deep' / 'down' / 'd', 0.25)
    assert expired_names(tmp_path) == ['a', 'd']
    assert expired_names(tmp_path, NOW - timedelta(days=1, seconds=1)) == ['d']
    assert expired_names(tmp_path, NOW - timedelta(days=1)) == ['a', 'd']  # The very moment counts as over.
    assert expired_names(tmp_path / 'a') == ['a']
    kept = {each.folder.name: each.expires for each in survey_retention(tmp_path, NOW).kept}
    assert kept == {'b': NOW + timedelta(days=0.5), 'c': None}


def test_a_time_without_zone_is_utc_and_z_is_understood():
    moment = datetime(2026, 6, 2, tzinfo=timezone.utc)
    for created in ('2026-06-01T00:00:00', '2026-06-01T00:00:00Z', '2026-06-01T02:00:00+02:00'):
        assert expiry(replace(CARD, retention_days=1.0, created=created)) == moment


@pytest.mark.parametrize(('days', 'created'), [(1.0, 'yesterday'), (1.0, ''), (1e12, NOW.isoformat())])
def test_a_card_that_cannot_say_is_reported_and_kept(tmp_path, days, created):
    folder = record(tmp_path / 'a', days, created or 'x')
    if not created:
        save_config(folder / CARD_FILE, replace(load_config(folder / CARD_FILE, RecordingCard), created=''))
    report = survey_retention(tmp_path, NOW)
    assert not report.expired
    assert 'Correct recording.yaml' in report.kept[0].fault


def test_a_card_that_cannot_be_read_is_reported_and_kept(tmp_path):
    folder = record(tmp_path / 'a', 1.0)
    (folder / CARD_FILE).write_text('camera: [')
    report = survey_retention(tmp_path, NOW)
    assert (report.expired, bool(report.kept[0].fault)) == ((), True)


def test_only_what_belongs_to_the_recording_goes(tmp_path):
    folder = record(tmp_path / 'a', 1.0)
    for place in ('labels/masks', 'orphans'):
        (folder / place).mkdir(parents=True)
        (folder / place / 'file').write_text('ours')
    (folder / 'notes.txt').write_text('mine')
    (folder / 'thesis').mkdir()
    beside = tmp_path / 'frames'
    beside.mkdir()
    (beside / '000000.depth.png').write_text('no recording of ours')
    other = record(tmp_path / 'b', None)
    [expired] = survey_retention(tmp_path, NOW).expired
    assert (expired.frames, expired.foreign) == (2, ('notes.txt', 'thesis'))
    assert expired.size == sum(path.stat().st_size for path in folder.rglob('*') if path.is_file()) - len('mine')
    delete_recording(expired)
    assert sorted(path.name for path in folder.iterdir()) == ['notes.txt', 'thesis']
    assert (beside / '000000.depth.png').exists()
    assert (other / CARD_FILE).exists()
    assert expired_names(tmp_path) == []


def test_an_own_folder_goes_altogether(tmp_path):
    record(tmp_path / 'a', 1.0)
    [expired] = survey_retention(tmp_path, NOW).expired
    assert expired.foreign == ()
    delete_recording(expired)
    assert not (tmp_path / 'a').exists()


def test_what_is_left_of_a_stopped_deletion_is_found_again(tmp_path, monkeypatch):
    record(tmp_path / 'a', 1.0)
    [expired] = survey_retention(tmp_path, NOW).expired
    with monkeypatch.context() as patched:
        patched.setattr('hwhup_core.data.retention.OWN_FILES', ('index.jsonl',))
        with pytest.raises(AssetError, match='by hand'):  # The folder is not empty.
            delete_recording(expired)
    assert not (tmp_path / 'a' / 'frames').exists()
    [again] = survey_retention(tmp_path, NOW).expired
    delete_recording(again)
    assert not (tmp_path / 'a').exists()


def test_a_recording_in_use_stays(tmp_path):
    folder = record(tmp_path / 'a', 1.0)
    [expired] = survey_retention(tmp_path, NOW).expired
    with locked(folder), pytest.raises(ConfigError, match='Another process'):
        delete_recording(expired)
    assert len(list((folder / 'frames').iterdir())) == 2


def test_links_are_not_followed(tmp_path):
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()
    (elsewhere / 'precious').write_text('mine')
    root = tmp_path / 'root'
    folder = record(root / 'a', 1.0)
    (folder / 'labels').symlink_to(elsewhere)
    outside = record(tmp_path / 'outside', 1.0)
    (root / 'linked').symlink_to(outside)
    assert expired_names(root) == ['a']
    [expired] = survey_retention(root, NOW).expired
    with pytest.raises(AssetError, match='labels is a link'):
        delete_recording(expired)
    assert (elsewhere / 'precious').exists()
    (folder / 'labels').unlink()
    (folder / 'frames' / 'inner').symlink_to(elsewhere)
    delete_recording(survey_retention(root, NOW).expired[0])
    assert (elsewhere / 'precious').exists()
    assert (outside / CARD_FILE).exists()


def test_a_wrong_root_is_refused(tmp_path):
    with pytest.raises(ConfigError, match='is no folder'):
        survey_retention(tmp_path / 'none')
