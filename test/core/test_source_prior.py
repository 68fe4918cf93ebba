"""The bundled pose prior: made from upright people, reproducible, and able to tell them from jumbled ones."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from hwhup_core.body.priors import (
    GMM_08_COMPONENTS,
    POSE_NUMBERS,
    SOURCE_PRIOR,
    MixturePrior,
    bundled_mixture,
    load_mixture,
    log_densities,
)
from hwhup_core.cli.main import main
from hwhup_core.errors import AssetError
from hwhup_core.synthetic import source_prior
from hwhup_core.synthetic.source_prior import build_source_prior, fit_source_prior, upright_axis_angles

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def people() -> np.ndarray:
    return upright_axis_angles(np.random.default_rng(99), 300)


def likelihoods(poses: np.ndarray) -> np.ndarray:
    return np.logaddexp.reduce(log_densities(bundled_mixture(), poses), axis=1)


def test_the_bundled_mixture_is_small_and_whole():
    mixture = bundled_mixture()
    assert mixture.means.shape == (GMM_08_COMPONENTS, POSE_NUMBERS)
    assert mixture.weights.sum() == pytest.approx(1.0)
    assert SOURCE_PRIOR.stat().st_size < 2**20


def test_upright_people_are_likelier_than_jumbled_joints(people):
    rng = np.random.default_rng(0)
    jumbled = np.stack([pose.reshape(23, 3)[rng.permutation(23)].ravel() for pose in people])
    assert (likelihoods(people) > likelihoods(jumbled)).mean() > 0.99
    energy = MixturePrior(bundled_mixture())
    mine, other = (energy(torch.from_numpy(poses.astype(np.float32))) for poses in (people, jumbled))
    assert mine.median() < other.median()


def test_upright_people_are_likelier_than_mirrored_knees(people):
    bent_back = people.copy().reshape(-1, 23, 3)
    bent_back[:, 3:5] *= -1
    walkers = np.abs(people.reshape(-1, 23, 3)[:, 3:5, 0]).max(axis=1) > 0.5
    worse = likelihoods(people)[walkers] > likelihoods(bent_back.reshape(-1, 69))[walkers]
    assert worse.mean() > 0.9


def test_a_small_rebuild_agrees_with_the_bundled_one(people):
    rebuilt = fit_source_prior(count=3000)
    fresh = np.logaddexp.reduce(log_densities(rebuilt, people), axis=1)
    # Of 69 numbers: a fit of fewer poses knows a little less about people whom neither has seen.
    assert abs(np.median(fresh) - np.median(likelihoods(people))) < 0.1 * POSE_NUMBERS


def test_the_same_seed_gives_the_same_mixture():
    first, second, other = (fit_source_prior(seed, count=400) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.means, second.means)
    np.testing.assert_array_equal(first.covariances, second.covariances)
    assert not np.allclose(first.means, other.means)


def test_the_command_writes_what_the_loader_reads(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(source_prior, 'SOURCE_POSES', 200)
    written = tmp_path / 'prior.npz'
    assert main(['build-prior', str(written)]) == 0
    assert '8 components over 69 numbers' in capsys.readouterr().out
    assert load_mixture(written).means.shape == (8, 69)


def test_a_name_without_npz_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(source_prior, 'SOURCE_POSES', 200)
    with pytest.raises(AssetError, match=r'\.npz'):
        build_source_prior(tmp_path / 'prior.pkl')


def test_the_package_carries_the_asset(monkeypatch):
    given = {}
    monkeypatch.setattr('setuptools.setup', lambda **arguments: given.update(arguments))
    monkeypatch.chdir(ROOT)
    spec = importlib.util.spec_from_file_location('setup_of_hwhup', ROOT / 'setup.py')
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    patterns = given['package_data']['hwhup_core.body']
    folder = ROOT / 'hwhup_core/body'
    assert SOURCE_PRIOR in {path for pattern in patterns for path in folder.glob(pattern)}
