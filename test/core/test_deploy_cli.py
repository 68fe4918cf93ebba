"""`hwhup deploy` and `hwhup models`, as a user calls them."""

import json
import shutil
from pathlib import Path

import pytest

from hwhup_core.cli.main import main
from hwhup_core.inference.engine import BUNDLED_WEIGHTS


@pytest.fixture
def run(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv('HWHUP_MODELS', str(tmp_path / 'models'))
    folder = tmp_path / 'run'
    folder.mkdir()
    for ending in ('safetensors', 'json'):
        shutil.copyfile(BUNDLED_WEIGHTS / f'crib_depth.{ending}', folder / f'weights.{ending}')
    (folder / 'report.json').write_text(json.dumps({'verdict': 'better'}))
    return folder


def test_deploy_list_and_rollback(run: Path, capsys):
    assert main(['models', 'list']) == 0
    assert 'holds no model' in capsys.readouterr().out
    assert main(['deploy', str(run), '--name', 'ward-3']) == 0
    assert 'is current (report: better)' in capsys.readouterr().out
    assert main(['models', 'list']) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith('ward-3/')
    assert line.endswith('run run  current')
    assert main(['models', 'rollback', '--name', 'ward-3']) == 2
    assert 'Nothing to go back to' in capsys.readouterr().err


def test_a_run_that_is_not_better_is_refused(run: Path, capsys):
    (run / 'report.json').write_text(json.dumps({'verdict': 'not better'}))
    assert main(['deploy', str(run)]) == 2
    assert 'says: not better' in capsys.readouterr().err


def test_a_folder_without_weights_is_refused(tmp_path: Path, capsys):
    assert main(['deploy', str(tmp_path)]) == 2
    assert 'holds no weights.safetensors' in capsys.readouterr().err
