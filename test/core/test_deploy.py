"""The store of deployed models: what gets in, which one is current, the way back, and the test before use."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hwhup_core.body.model import load_body
from hwhup_core.config_io import load_config, save_config
from hwhup_core.deploy.self_test import run_self_test
from hwhup_core.deploy.store import (
    PROVENANCE,
    Provenance,
    current_hash,
    deploy,
    deployed,
    find,
    load_tested,
    models_folder,
    resolve,
    rollback,
)
from hwhup_core.errors import AssetError, ConfigError
from hwhup_core.inference.config import EngineConfig
from hwhup_core.inference.engine import BUNDLED_WEIGHTS, Engine
from hwhup_core.networks.checkpoint import load_checkpoint, save_checkpoint


@pytest.fixture(scope='module')
def infant():
    return load_body('infant')


def finished_run(folder: Path, weights: str = 'crib_depth', verdict: str | None = 'better') -> Path:
    folder.mkdir(parents=True)
    for ending in ('safetensors', 'json'):
        shutil.copyfile(BUNDLED_WEIGHTS / f'{weights}.{ending}', folder / f'weights.{ending}')
    if verdict:
        (folder / 'report.json').write_text(json.dumps({'verdict': verdict}))
    return folder


def changed(run: Path) -> Path:
    """Change one number of the run's weights, card and all, as another training would."""
    loaded = load_checkpoint(run / 'weights.safetensors', None)
    parameter = next(loaded.model.parameters())
    parameter.data[..., 0] += 1e-3
    save_checkpoint(run / 'weights.safetensors', loaded.model, loaded.card)
    return run


def test_a_deployed_run_is_current_and_keeps_its_papers(tmp_path: Path):
    store = tmp_path / 'models'
    found = deploy(finished_run(tmp_path / 'run'), store)
    assert (found.name, found.current, found.provenance.run, found.provenance.verdict) == (
        'room',
        True,
        'run',
        'better',
    )
    assert found.provenance.weights_hash == load_checkpoint(found.weights, None).card.weights_hash
    assert sorted(path.name for path in found.folder.iterdir()) == [
        'provenance.yaml', 'report.json', 'weights.json', 'weights.safetensors',
    ]  # fmt: skip
    assert np.isfinite(found.provenance.self_test).all()


def test_rollback_goes_back_one_step_at_a_time(tmp_path: Path):
    store = tmp_path / 'models'
    first = deploy(finished_run(tmp_path / 'a'), store)
    second = deploy(changed(finished_run(tmp_path / 'b')), store)
    third = deploy(changed(changed(finished_run(tmp_path / 'c'))), store)
    assert len({each.folder.name for each in (first, second, third)}) == 3
    assert [each.current for each in deployed(store)] == [False, False, True]
    assert third.provenance.replaced == second.folder.name
    assert rollback(store).folder == second.folder
    assert rollback(store).folder == first.folder
    with pytest.raises(ConfigError, match='Nothing to go back to'):
        rollback(store)
    assert deploy(changed(finished_run(tmp_path / 'd')), store).folder == second.folder
    assert rollback(store).folder == first.folder


@pytest.mark.parametrize('verdict', ['not better', None])
def test_weights_that_are_not_better_stay_out(tmp_path: Path, verdict: str | None):
    run = finished_run(tmp_path / 'run', verdict=verdict)
    with pytest.raises(ConfigError, match=r'Only weights that are better.*--even-if-worse'):
        deploy(run, tmp_path / 'models')
    assert not deployed(tmp_path / 'models')
    assert deploy(run, tmp_path / 'models', even_if_worse=True).provenance.forced


def test_damaged_weights_stay_out(tmp_path: Path):
    store = tmp_path / 'models'
    before = deploy(finished_run(tmp_path / 'good'), store)
    run = finished_run(tmp_path / 'bad')
    content = bytearray((run / 'weights.safetensors').read_bytes())
    content[-7] ^= 0x40
    (run / 'weights.safetensors').write_bytes(content)
    with pytest.raises(AssetError, match='hash'):
        deploy(run, store)
    assert current_hash(store, 'room') == before.folder.name
    (run / 'weights.safetensors').unlink()
    with pytest.raises(AssetError, match=r'holds no weights\.safetensors'):
        deploy(run, store)


@pytest.mark.parametrize('name', ['Room', '../room', '', 'a/b'])
def test_names_are_plain(tmp_path: Path, name: str):
    with pytest.raises(ConfigError, match='cannot name a model'):
        deploy(finished_run(tmp_path / 'run'), tmp_path / 'models', name)


def test_words_are_resolved(tmp_path: Path, monkeypatch):
    monkeypatch.setenv('HWHUP_MODELS', str(tmp_path / 'models'))
    found = deploy(finished_run(tmp_path / 'run'), models_folder())
    assert resolve('room') == resolve(f'room/{found.folder.name[:6]}') == found.weights
    assert resolve('crib_rgb') == BUNDLED_WEIGHTS / 'crib_rgb.json'
    assert resolve(str(found.weights)) == found.weights
    with pytest.raises(AssetError, match='0 weights of room fit'):
        resolve('room/ffffffff')
    with pytest.raises(AssetError, match="no model 'attic'; there is: room"):
        find(models_folder(), 'attic')


def test_an_engine_is_tested_against_the_noted_answer(tmp_path: Path, infant):
    found = deploy(finished_run(tmp_path / 'run'), tmp_path / 'models')
    config = EngineConfig(weights=str(found.weights))
    engine = load_tested(found.weights, infant, config)
    np.testing.assert_allclose(run_self_test(engine).joints, found.provenance.self_test, atol=1e-4)
    noted = load_config(found.folder / PROVENANCE, Provenance)
    moved = tuple((x + 0.02, y, z) for x, y, z in noted.self_test)
    save_config(found.folder / PROVENANCE, replace(noted, self_test=moved))
    with pytest.raises(AssetError, match=r'20\.\d mm away from the answer'):
        load_tested(found.weights, infant, config)


@pytest.mark.parametrize('weights', ['crib_depth', 'crib_rgb', 'crib_rgb_source'])
def test_all_bundled_weights_pass(weights: str, infant):
    loaded = load_checkpoint(BUNDLED_WEIGHTS / weights, infant)
    assert np.isfinite(run_self_test(Engine(loaded, infant, EngineConfig(weights=weights))).joints).all()


def test_weights_that_answer_nonsense_fail(tmp_path: Path, infant):
    run = finished_run(tmp_path / 'run')
    loaded = load_checkpoint(run / 'weights.safetensors', None)
    loaded.model.init_cam.data[..., 0] = -5.0  # A body of negative size.
    save_checkpoint(run / 'weights.safetensors', loaded.model, loaded.card)
    with pytest.raises(AssetError, match='failed the self-test: no_person'):
        load_tested(run / 'weights.safetensors', infant, EngineConfig())
