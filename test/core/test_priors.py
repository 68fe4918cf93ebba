"""The priors against hand-computed values and naive loops; mixtures are fitted, saved, read, and refused."""

import itertools
import math
import os
import pickle

import numpy as np
import pytest
import torch

from hwhup_core.body.priors import (
    Mixture,
    MixturePrior,
    angle_energy,
    fit_mixture,
    load_gmm_08,
    load_mixture,
    log_densities,
    save_mixture,
    shape_energy,
)
from hwhup_core.errors import AssetError, ConfigError


def random_mixture(components=3, size=69, seed=0):
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(components, size, size)) * 0.1
    covariances = factors @ factors.transpose(0, 2, 1) + 0.05 * np.eye(size)
    weights = rng.random(components) + 0.1
    return Mixture(rng.normal(size=(components, size)) * 0.3, covariances, weights / weights.sum())


def naive_energy(mixture, pose):
    """Spell out the formula of the method, one component and one pose at a time."""
    size = len(pose)
    roots = [math.sqrt(np.linalg.det(covariance)) for covariance in mixture.covariances]
    energies = []
    for mean, covariance, weight, root in zip(mixture.means, mixture.covariances, mixture.weights, roots):
        scaled = weight / ((2 * math.pi) ** (size / 2) * root / min(roots))
        difference = pose - mean
        energies.append(0.5 * difference @ np.linalg.inv(covariance) @ difference - math.log(scaled))
    return min(energies)


def test_the_constant_is_63_4():
    mixture = Mixture(np.zeros((1, 69)), np.eye(69)[None], np.ones(1))
    assert MixturePrior(mixture)(torch.zeros(1, 69)).item() == pytest.approx(63.4, abs=0.01)


def test_hand_built_mixture():
    # Both components have their mean at hand; the second is 2^69 times wider and has a quarter of the weight.
    mixture = Mixture(
        np.stack([np.zeros(69), np.full(69, 10.0)]), np.stack([np.eye(69), 4 * np.eye(69)]), np.array([0.8, 0.2])
    )
    pose = torch.stack([torch.zeros(69), torch.full((69,), 10.0), torch.eye(69)[0]])
    constant = 34.5 * math.log(2 * math.pi)
    expected = [constant - math.log(0.8), constant + 69 * math.log(2) - math.log(0.2), 0.5 + constant - math.log(0.8)]
    assert MixturePrior(mixture)(pose).tolist() == pytest.approx(expected, abs=1e-3)


def test_mixture_energy_equals_the_naive_one():
    mixture = random_mixture()
    poses = np.random.default_rng(1).normal(size=(6, 69)) * 0.4
    expected = [naive_energy(mixture, pose) for pose in poses]
    assert MixturePrior(mixture)(torch.from_numpy(poses).float()).numpy() == pytest.approx(expected, rel=1e-5)


def test_determinants_beyond_float_range():
    covariances = np.stack([1e-6 * np.eye(69), 2e-6 * np.eye(69)])
    prior = MixturePrior(Mixture(np.zeros((2, 69)), covariances, np.array([0.5, 0.5])))
    assert prior(torch.zeros(1, 69)).item() == pytest.approx(34.5 * math.log(2 * math.pi) + math.log(2), abs=1e-3)


def test_gradients():
    generator = torch.Generator().manual_seed(0)
    prior = MixturePrior(random_mixture(size=5)).double()
    assert torch.autograd.gradcheck(
        prior, torch.randn(3, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    )
    pose = torch.randn(2, 69, generator=generator, dtype=torch.float64).mul_(0.3).requires_grad_()
    assert torch.autograd.gradcheck(angle_energy, pose)
    assert torch.autograd.gradcheck(
        shape_energy, torch.randn(2, 10, generator=generator, dtype=torch.float64, requires_grad=True)
    )


def test_angle_energy_reads_four_entries_of_the_72():
    whole = torch.zeros(5, 72)
    for row, entry in enumerate((55, 58, 12, 15)):
        whole[row, entry] = 0.5
    others = torch.ones(72)
    others[[55, 58, 12, 15]] = 0
    whole[4] = others
    wrong, right = 3 + math.exp(1), 3 + math.exp(-1)
    assert angle_energy(whole[:, 3:]).tolist() == pytest.approx([wrong, right, right, right, 4.0])


def test_shape_energy():
    assert shape_energy(torch.tensor([[1.0, -2.0, *[0.0] * 8]])).tolist() == [5.0]


def test_expectation_maximisation_finds_two_groups():
    rng = np.random.default_rng(0)
    poses = np.concatenate([rng.normal(0.0, 0.3, (300, 3)), rng.normal(4.0, 0.5, (100, 3))])
    mixture = fit_mixture(poses, 2, seed=0)
    first, second = np.argsort(mixture.means[:, 0])
    assert mixture.weights[[first, second]] == pytest.approx([0.75, 0.25], abs=1e-3)
    assert np.abs(mixture.means[second] - 4.0).max() < 0.2
    assert np.abs(mixture.covariances[first] - 0.09 * np.eye(3)).max() < 0.03
    again = fit_mixture(poses, 2, seed=0)
    assert all(np.array_equal(getattr(mixture, name), getattr(again, name)) for name in vars(mixture))


def test_likelihood_never_falls():
    poses = np.random.default_rng(0).standard_t(3, (200, 4))

    def likelihood(iterations):
        return np.logaddexp.reduce(log_densities(fit_mixture(poses, 3, 0, iterations), poses), axis=1).mean()

    values = [likelihood(count) for count in range(8)]
    assert all(after >= before - 1e-9 for before, after in itertools.pairwise(values))
    assert values[-1] > values[0]


def test_a_joint_that_never_moved_keeps_some_play():
    poses = np.zeros((50, 4))
    poses[:, 0] = np.random.default_rng(0).normal(size=50)
    mixture = fit_mixture(poses, 2, seed=1, floor=0.1)
    assert np.linalg.eigvalsh(mixture.covariances).min() == pytest.approx(0.01)
    assert np.isfinite(mixture.means).all()


def test_mixture_refuses_bad_poses():
    with pytest.raises(ConfigError, match='two poses each'):
        fit_mixture(np.zeros((3, 4)), 2, seed=0)
    with pytest.raises(ConfigError, match='finite'):
        fit_mixture(np.full((9, 4), np.nan), 2, seed=0)


def test_saved_mixture_comes_back(tmp_path):
    mixture = random_mixture()
    save_mixture(mixture, tmp_path / 'prior.npz')
    read = load_mixture(tmp_path / 'prior.npz')
    assert all(np.array_equal(getattr(mixture, name), getattr(read, name)) for name in vars(mixture))
    assert [path.name for path in tmp_path.iterdir()] == ['prior.npz']


def test_broken_mixtures_are_refused(tmp_path):
    (tmp_path / 'cut.npz').write_bytes(b'PK\3\4')
    with pytest.raises(AssetError, match=r'cut\.npz is not a readable mixture'):
        load_mixture(tmp_path / 'cut.npz')
    np.savez(tmp_path / 'other.npz', means=np.zeros((2, 3)), covars=np.zeros((2, 3, 4)), weights=np.ones(2))
    with pytest.raises(AssetError, match=r'covars has type float64, shape \(2, 3, 4\)'):
        load_mixture(tmp_path / 'other.npz')
    np.savez(tmp_path / 'flat.npz', means=np.zeros((2, 3)), covars=np.zeros((2, 3, 3)), weights=np.ones(2))
    with pytest.raises(AssetError, match=r'flat\.npz: .*not positive definite'):
        load_mixture(tmp_path / 'flat.npz')
    with pytest.raises(AssetError, match=r'ends in \.npz'):
        save_mixture(random_mixture(), tmp_path / 'prior.pkl')


def gmm_entries():
    mixture = random_mixture(components=8)
    return {'means': mixture.means, 'covars': mixture.covariances, 'weights': mixture.weights}


@pytest.mark.parametrize('protocol', [0, 2, 4])
def test_official_mixture_is_read(tmp_path, protocol):
    entries = gmm_entries()
    content = pickle.dumps(entries, protocol=protocol).replace(b'numpy._core', b'numpy.core')
    (tmp_path / 'gmm_08.pkl').write_bytes(content if protocol < 4 else pickle.dumps(entries, protocol=protocol))
    mixture = load_gmm_08(tmp_path / 'gmm_08.pkl')
    assert np.array_equal(mixture.covariances, entries['covars'])
    assert np.array_equal(mixture.means, entries['means'])


class Calls:
    """An object whose pickle calls a function on loading."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def test_malicious_mixture_is_refused(tmp_path):
    witness = tmp_path / 'ran'
    path = tmp_path / 'gmm_08.pkl'
    path.write_bytes(pickle.dumps(gmm_entries() | {'more': Calls(os.system, f'touch {witness}')}, protocol=2))
    with pytest.raises(AssetError, match=r'gmm_08\.pkl asks for \w+\.system'):
        load_gmm_08(path)
    assert not witness.exists()


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'means': np.zeros((8, 72))}, r'means has type float64, shape \(8, 72\)\. Expected floats \(8, 69\)'),
        ({'weights': None}, 'weights has type object'),
        ({'weights': np.zeros(8)}, 'non-positive'),
        ({'covars': np.full((8, 69, 69), np.nan)}, 'NaN'),
    ],
)
def test_other_pickles_are_refused(tmp_path, change, message):
    path = tmp_path / 'gmm_08.pkl'
    path.write_bytes(pickle.dumps(gmm_entries() | change, protocol=2))
    with pytest.raises(AssetError, match=message):
        load_gmm_08(path)


def test_missing_mixture_says_what_to_do(tmp_path):
    with pytest.raises(AssetError, match='leave it out'):
        load_gmm_08(tmp_path / 'gmm_08.pkl')
