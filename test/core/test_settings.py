"""Settings of the user: known keys, existing folders, one file that is whole at any moment."""

import pytest
import yaml

from hwhup_core.cli.main import main
from hwhup_core.errors import ConfigError
from hwhup_core.settings import SETTINGS, all_settings, set_setting, setting, settings_file, unset_setting


@pytest.fixture(autouse=True)
def file(tmp_path, monkeypatch):
    path = tmp_path / 'deep' / 'settings.yaml'
    monkeypatch.setenv('HWHUP_SETTINGS', str(path))
    return path


def test_a_folder_is_kept_and_forgotten(tmp_path, file):
    assert setting('data.slp') is None
    assert set_setting('data.slp', str(tmp_path)) == tmp_path
    set_setting('assets', tmp_path / 'deep')
    assert setting('data.slp') == tmp_path
    assert all_settings() == {'assets': tmp_path / 'deep', 'data.slp': tmp_path}
    assert yaml.safe_load(file.read_text()) == {'assets': str(tmp_path / 'deep'), 'data.slp': str(tmp_path)}
    assert unset_setting('data.slp')
    assert not unset_setting('data.slp')
    assert setting('data.slp') is None
    assert [path.name for path in file.parent.iterdir()] == ['settings.yaml']


def test_a_relative_folder_becomes_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'SLP').mkdir()
    assert set_setting('data.slp', 'SLP') == tmp_path / 'SLP'


def test_where_the_file_is(tmp_path, monkeypatch):
    monkeypatch.delenv('HWHUP_SETTINGS')
    monkeypatch.setenv('XDG_CONFIG_HOME', str(tmp_path))
    assert settings_file() == tmp_path / 'hwhup' / 'settings.yaml'
    monkeypatch.delenv('XDG_CONFIG_HOME')
    monkeypatch.setenv('HOME', str(tmp_path))
    assert settings_file() == tmp_path / '.config' / 'hwhup' / 'settings.yaml'


def test_unknown_keys_are_answered_with_the_nearest(tmp_path):
    for ask in (lambda: set_setting('data.slpp', tmp_path), lambda: setting('data.slpp')):
        with pytest.raises(ConfigError, match=r'unknown key `data\.slpp`\. Did you mean `data\.slp`'):
            ask()
    with pytest.raises(ConfigError, match=r'Known: assets, data\.slp'):
        setting('xyz')


def test_only_existing_folders_are_kept(tmp_path, file):
    (tmp_path / 'file').write_text('')
    with pytest.raises(ConfigError, match='nowhere is not there'):
        set_setting('data.coco', tmp_path / 'nowhere')
    with pytest.raises(ConfigError, match='file is a file'):
        set_setting('data.coco', tmp_path / 'file')
    assert not file.exists()


def test_a_folder_that_has_gone_is_refused_when_asked_for(tmp_path):
    (tmp_path / 'SLP').mkdir()
    set_setting('data.slp', tmp_path / 'SLP')
    (tmp_path / 'SLP').rmdir()
    with pytest.raises(ConfigError, match=r'no folder any more.*hwhup config unset data\.slp'):
        setting('data.slp')
    assert all_settings() == {'data.slp': tmp_path / 'SLP'}


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('data.slp: [', 'not valid YAML'),
        ('- a', 'holds a list'),
        ('data.spl: /x', r'unknown key `data\.spl`.*`data\.slp`'),
        ('data.slp: 3', '`data.slp` is 3'),
    ],
)
def test_a_broken_file_is_refused(file, text, message):
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(ConfigError, match=f'settings.yaml.*{message}'):
        all_settings()


def test_command_line(tmp_path, capsys):
    assert main(['config', 'set', 'data.syrip', str(tmp_path)]) == 0
    assert main(['config', 'get', 'data.syrip']) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path)
    assert main(['config', 'list']) == 0
    listed = capsys.readouterr().out
    assert all(key in listed for key in SETTINGS)
    assert str(tmp_path) in listed
    assert main(['config', 'unset', 'data.syrip']) == 0
    assert main(['config', 'get', 'data.syrip']) == 2
    assert main(['config', 'set', 'data.silp', str(tmp_path)]) == 2
    assert 'data.slp' in capsys.readouterr().err
