"""The best fits: round trips under turns and mirrors, who wins, what is refused, and files that survive anything."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch

from hwhup_core.body.joints import FLIP_24
from hwhup_core.body.keypoint_sets import keypoint_set
from hwhup_core.body.model import load_body
from hwhup_core.body.priors import Mixture, MixturePrior
from hwhup_core.errors import AssetError, ConfigError
from hwhup_core.fitting.best_fit import (
    Augmentation,
    from_augmented,
    keep_best,
    stored_fit,
    to_augmented,
    without_exaggeration,
)
from hwhup_core.fitting.config import SmplifyConfig
from hwhup_core.fitting.energies import project_to_crop
from hwhup_core.fitting.fit_store import HEADER, FitStore, load_fit_store, save_fit_store
from hwhup_core.fitting.smplify import Fit, Smplify, unpack
from hwhup_core.types import CropPinhole


@pytest.fixture(scope='module')
def body():
    return load_body('adult')


@pytest.fixture(scope='module')
def smplify(body):
    prior = MixturePrior(Mixture(np.zeros((1, 69)), np.eye(69)[None], np.ones(1)))
    return Smplify(body, keypoint_set('smpl_24'), prior, SmplifyConfig())


def bodies(count, seed=0, spread=0.4):
    return unpack(torch.randn(count, 82, generator=torch.Generator().manual_seed(seed)) * spread)


def augmentations(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rotation = (torch.rand(count, generator=generator) - 0.5) * 2 * torch.pi
    return Augmentation(rotation, torch.rand(count, generator=generator) < 0.5)


def nothing_done(count):
    return Augmentation(torch.zeros(count), torch.zeros(count, dtype=torch.bool))


def close(one, other, tolerance=1e-5):
    pairs = zip(vars(one).values(), vars(other).values())
    return all(torch.allclose(first, second, atol=tolerance) for first, second in pairs)


def seen_at(smplify, params, distance=50.0):
    """Return exact key points of bodies, and a fit that explains them."""
    translation = torch.tensor([[0.1, -0.05, distance]]).repeat(len(params.betas), 1)
    pixels = project_to_crop(smplify.points(params), translation)
    keypoints = torch.cat([pixels, torch.ones_like(pixels[..., :1])], dim=2)
    score = smplify.score(params, translation, smplify.observe(keypoints))
    return keypoints, Fit(params, translation, score, score < 100)


@pytest.mark.parametrize('seed', range(5))
def test_augmentation_and_back(seed):
    params, augmentation = bodies(16, seed), augmentations(16, seed)
    assert close(from_augmented(to_augmented(params, augmentation), augmentation), params)
    assert close(to_augmented(from_augmented(params, augmentation), augmentation), params)
    assert not close(to_augmented(params, augmentation), params, 1e-2)


@pytest.mark.parametrize('seed', range(3))
def test_augmented_bodies_are_where_the_augmented_pixels_are(smplify, seed):
    params, augmentation = bodies(6, seed), augmentations(6, seed)
    augmentation = replace(augmentation, flip=torch.tensor([True, False] * 3))
    straight, turned = smplify.points(params), smplify.points(to_augmented(params, augmentation))
    straight, turned = straight - straight[:, :1], turned - turned[:, :1]
    cosine, sine = augmentation.rotation.cos()[:, None], augmentation.rotation.sin()[:, None]
    x, y, z = straight.unbind(-1)
    expected = torch.stack([cosine * x - sine * y, sine * x + cosine * y, z], dim=-1)
    mirrored = expected[:, list(FLIP_24)] * torch.tensor([-1.0, 1.0, 1.0])
    expected = torch.where(augmentation.flip[:, None, None], mirrored, expected)
    # The bundled body is symmetric to a millimetre or so, not exactly.
    assert (turned - expected).norm(dim=-1).max() < 5e-3
    assert (turned - expected)[~augmentation.flip].norm(dim=-1).max() < 1e-5


@pytest.mark.parametrize('seed', range(5))
def test_store_round_trip_under_augmentation(body, seed):
    store = FitStore('beds', 20, body)
    params, augmentation = bodies(8, seed), augmentations(8, seed)
    indices = torch.randperm(20, generator=torch.Generator().manual_seed(seed))[:8]
    assert not store.get(indices)[1].any()
    store.put(indices, from_augmented(params, augmentation), torch.ones(8), torch.ones(8).bool())
    stored, fitted = store.get(indices)
    assert fitted.all()
    assert close(to_augmented(stored, augmentation), params, 3e-5)
    assert store.scores.isfinite().sum() == 8


def test_new_store_holds_zeros_and_infinite_scores(body):
    store = FitStore('beds', 6, body, covers=3)
    assert store.fits.shape == (2, 82)
    assert not store.fits.any()
    assert store.scores.isinf().all()


def test_covers_share_a_row_and_the_best_of_a_batch_wins(body):
    store = FitStore('beds', 6, body, covers=3)
    params = bodies(4)
    indices, scores = torch.tensor([3, 4, 5, 0]), torch.tensor([5.0, 2.0, 2.0, 9.0])
    store.put(indices, params, scores, torch.tensor([True, True, True, True]))
    found, _ = store.get(torch.tensor([5, 3, 2]))
    assert close(found, params[[1, 1, 3]])
    assert store.scores.tolist() == [9.0, 2.0]


def test_only_accepted_and_finite_fits_are_written(body):
    store = FitStore('beds', 4, body)
    params = bodies(4)
    betas = params.betas.clone()
    betas[1] = torch.nan
    scores = torch.tensor([1.0, 1.0, torch.inf, 1.0])
    store.put(torch.arange(4), replace(params, betas=betas), scores, torch.tensor([True, True, True, False]))
    assert store.scores.isfinite().tolist() == [True, False, False, False]
    assert store.fits.isfinite().all()


def test_images_outside_are_refused(body):
    store = FitStore('beds', 4, body)
    for wrong in (-1, 4):
        with pytest.raises(ConfigError, match=f"No image {wrong} in the fit store of 'beds' with 4 images"):
            store.get(torch.tensor([0, wrong]))
    with pytest.raises(ConfigError, match='7 images do not divide into groups of 3 covers'):
        FitStore('beds', 7, body, covers=3)


def test_first_fit_is_kept_and_a_worse_one_is_not(body, smplify):
    store, indices = FitStore('beds', 8, body), torch.tensor([2, 5])
    params, augmentation = bodies(2), augmentations(2, seed=3)
    keypoints, exact = seen_at(smplify, params)
    first = keep_best(store, smplify, exact, keypoints, indices, augmentation)
    assert close(first.params, params)
    # Seen again in another augmentation, with a bad new fit: the stored one comes back, at its new place.
    other = augmentations(2, seed=7)
    there = to_augmented(from_augmented(params, augmentation), other)
    keypoints, _ = seen_at(smplify, there, distance=40.0)
    poor, translation = bodies(2, seed=9), torch.tensor([[0.0, 0.0, 40.0]]).repeat(2, 1)
    score = smplify.score(poor, translation, smplify.observe(keypoints))
    before = store.fits.clone()
    best = keep_best(store, smplify, Fit(poor, translation, score, score < 100), keypoints, indices, other)
    assert close(best.params, there, 1e-4)
    assert torch.allclose(best.translation, torch.tensor([0.1, -0.05, 40.0]), atol=1e-2)
    assert best.valid.all()
    assert (best.score < 1e-2).all()
    assert torch.equal(store.fits, before)


def test_stored_fits_come_back_before_the_true_camera(body, smplify):
    store, indices, params = FitStore('beds', 2, body), torch.arange(2), bodies(2)
    pinhole = CropPinhole(torch.tensor([1.8, 2.2]), torch.tensor([[0.4, 0.0], [-0.3, 0.2]]))
    translation = torch.tensor([[0.1, -0.05, 2.0]]).repeat(2, 1)
    pixels = project_to_crop(smplify.points(params), translation, pinhole)
    keypoints = torch.cat([pixels, torch.ones_like(pixels[..., :1])], dim=2)
    score = smplify.score(params, translation, smplify.observe(keypoints), pinhole)
    exact = Fit(params, translation, score, score < 100)
    keep_best(store, smplify, exact, keypoints, indices, nothing_done(2), pinhole)
    poor = replace(exact, params=bodies(2, seed=9), score=torch.full((2,), 1e4))
    best = keep_best(store, smplify, poor, keypoints, indices, nothing_done(2), pinhole)
    assert close(best.params, params, 1e-4)
    assert torch.allclose(best.translation, translation, atol=1e-3)
    assert (best.score < 1e-2).all()
    assert (stored_fit(store, smplify, keypoints, indices, nothing_done(2)).score > 10).all()


def test_a_better_fit_replaces_a_worse_one_even_if_not_valid(body, smplify):
    store, indices = FitStore('beds', 3, body), torch.arange(3)
    params = bodies(3)
    keypoints, exact = seen_at(smplify, params)
    store.put(indices, bodies(3, seed=4), torch.ones(3), torch.ones(3).bool())
    moderate = replace(exact, score=torch.tensor([150.0, 1e9, torch.inf]), valid=torch.zeros(3).bool())
    best = keep_best(store, smplify, moderate, keypoints, indices, nothing_done(3))
    stored, _ = store.get(indices)
    assert close(stored[[0]], params[[0]])
    assert close(stored[[1, 2]], bodies(3, seed=4)[[1, 2]])
    assert not best.valid[0]
    assert (best.score[1:] < 1e9).all()


def test_nothing_visible_leaves_the_store_alone(body, smplify):
    store, indices = FitStore('beds', 2, body), torch.arange(2)
    keypoints, exact = seen_at(smplify, bodies(2))
    keypoints[..., 2] = 0
    unfitted = replace(exact, score=torch.full((2,), torch.inf), valid=torch.zeros(2).bool())
    best = keep_best(store, smplify, unfitted, keypoints, indices, nothing_done(2))
    assert store.scores.isinf().all()
    assert not best.valid.any()
    assert best.translation.isfinite().all()


def test_exaggerated_betas_teach_the_mean_shape_but_stay_in_the_store(body, smplify):
    params = bodies(2)
    betas = params.betas.clone()
    betas[0, 3], betas[1] = -3.5, 2.9
    keypoints, exact = seen_at(smplify, replace(params, betas=betas))
    store = FitStore('beds', 2, body)
    best = keep_best(store, smplify, exact, keypoints, torch.arange(2), nothing_done(2))
    assert not best.params.betas[0].any()
    assert torch.equal(best.params.betas[1], betas[1])
    assert torch.allclose(store.get(torch.arange(2))[0].betas, betas)
    assert torch.equal(exact.params.betas, betas)
    assert torch.equal(without_exaggeration(exact, 4.0).params.betas, betas)


def filled(body, images=6, covers=2):
    store = FitStore('beds', images, body, covers)
    store.put(torch.arange(2), bodies(2), torch.tensor([3.0, 4.0]), torch.ones(2).bool())
    return store


def test_saved_store_comes_back_bit_for_bit(body, tmp_path):
    store = filled(body)
    path = tmp_path / 'run' / 'fits.safetensors'
    save_fit_store(store, path)
    read = load_fit_store(path, 'beds', 6, body, covers=2)
    assert torch.equal(read.fits, store.fits)
    assert torch.equal(read.scores, store.scores)
    assert os.listdir(path.parent) == ['fits.safetensors']


@pytest.mark.parametrize(
    ('dataset', 'images', 'covers', 'message'),
    [
        ('cribs', 6, 2, "dataset 'beds'. Expected 'cribs'"),
        ('beds', 8, 2, 'images 6. Expected 8'),
        ('beds', 6, 3, 'covers 2. Expected 3'),
    ],
)
def test_store_of_something_else_is_refused(body, tmp_path, dataset, images, covers, message):
    save_fit_store(filled(body), tmp_path / 'fits.safetensors')
    with pytest.raises(AssetError, match=message):
        load_fit_store(tmp_path / 'fits.safetensors', dataset, images, body, covers)


def test_store_of_another_body_is_refused(body, tmp_path):
    save_fit_store(filled(body), tmp_path / 'fits.safetensors')
    with pytest.raises(AssetError, match=r"Made for body 'hwhup_adult_v1'.*but the body in use is 'hwhup_infant_v1'"):
        load_fit_store(tmp_path / 'fits.safetensors', 'beds', 6, load_body('infant'), covers=2)


def test_broken_files_are_refused(body, tmp_path):
    path = tmp_path / 'fits.safetensors'
    with pytest.raises(AssetError, match='Cannot read the fit store'):
        load_fit_store(path, 'beds', 6, body, covers=2)
    save_fit_store(filled(body), path)
    whole = path.read_bytes()
    for content in (b'', whole[: len(whole) // 2], b'\0' * 50):
        path.write_bytes(content)
        with pytest.raises(AssetError, match='not a whole fit store'):
            load_fit_store(path, 'beds', 6, body, covers=2)
    path.write_bytes(safetensors.torch.save({'weight': torch.zeros(2)}))
    with pytest.raises(AssetError, match='another kind of file'):
        load_fit_store(path, 'beds', 6, body, covers=2)
    header = {
        'format_version': 1, 'dataset': 'beds', 'images': 6, 'covers': 2,
        'body_id': body.body_id, 'body_hash': body.hash,
    }  # fmt: skip
    wrong = {'fits': torch.full((3, 82), torch.nan), 'scores': torch.zeros(3)}
    path.write_bytes(safetensors.torch.save(wrong, {HEADER: json.dumps(header)}))
    with pytest.raises(AssetError, match='fits is missing, damaged'):
        load_fit_store(path, 'beds', 6, body, covers=2)
    path.write_bytes(safetensors.torch.save(wrong, {HEADER: json.dumps(header | {'format_version': 9})}))
    with pytest.raises(AssetError, match='format version 9'):
        load_fit_store(path, 'beds', 6, body, covers=2)


def random_store(body, seed):
    """Return a store in which some rows are filled; scores are whole numbers, so that some are equal."""
    store, generator = FitStore('beds', 40, body), torch.Generator().manual_seed(seed)
    scores = torch.randint(1, 4, (40,), generator=generator).float()
    store.put(torch.arange(40), bodies(40, seed), scores, torch.rand(40, generator=generator) < 0.7)
    return store


def test_merging_keeps_the_better_row_in_any_order(body):
    stores = [random_store(body, seed) for seed in range(3)]
    found = []
    for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2)):
        merged = FitStore('beds', 40, body)
        for one in order:
            merged.merge(stores[one].fits, stores[one].scores)
        found.append(merged)
    for other in found[1:]:
        assert torch.equal(other.fits, found[0].fits)
        assert torch.equal(other.scores, found[0].scores)
    lowest = torch.stack([store.scores for store in stores])
    assert torch.equal(found[0].scores, lowest.amin(dim=0))
    best = torch.stack([store.fits for store in stores])[lowest.argmin(dim=0), torch.arange(40)]
    alone = (lowest == lowest.amin(dim=0)).sum(dim=0) == 1
    assert alone.any()
    assert torch.equal(found[0].fits[alone], best[alone])


def test_merging_refuses_and_ignores(body):
    store = random_store(body, 0)
    before = store.state_dict()
    broken = torch.full((40, 82), torch.nan)
    store.merge(broken, torch.zeros(40))
    store.merge(torch.zeros(40, 82), torch.full((40,), torch.nan))
    assert torch.equal(store.fits, before['fits'])
    with pytest.raises(ConfigError, match=r"do not merge into the fit store of 'beds' with 40 rows"):
        store.merge(torch.zeros(39, 82), torch.zeros(39))


def test_state_goes_through_a_checkpoint(body, tmp_path):
    store = random_store(body, 1)
    torch.save(store.state_dict(), tmp_path / 'state.pt')
    again = FitStore('beds', 40, body)
    again.load_state_dict(torch.load(tmp_path / 'state.pt', weights_only=True))
    assert torch.equal(again.fits, store.fits)
    assert torch.equal(again.scores, store.scores)
    again.fits[0] = 7.0
    assert not torch.equal(again.fits, store.fits)


def test_state_of_something_else_is_refused(body):
    state = filled(body).state_dict()
    with pytest.raises(AssetError, match=r"dataset 'beds'\. Expected 'cribs'"):
        FitStore('cribs', 6, body, covers=2).load_state_dict(state)
    with pytest.raises(AssetError, match=r'images 6\. Expected 8'):
        FitStore('beds', 8, body, covers=2).load_state_dict(state)
    with pytest.raises(AssetError, match=r"Made for body 'hwhup_adult_v1'"):
        FitStore('beds', 6, load_body('infant'), covers=2).load_state_dict(state)
    store = FitStore('beds', 6, body, covers=2)
    with pytest.raises(AssetError, match='has no header of a fit store'):
        store.load_state_dict({'fits': state['fits'], 'scores': state['scores']})
    for wrong in (None, state['fits'][:1], state['fits'].double(), state['fits'] * torch.nan):
        with pytest.raises(AssetError, match='fits is missing, damaged'):
            store.load_state_dict({**state, 'fits': wrong})
    assert not store.fits.any()


def test_a_full_disk_leaves_the_old_file(body, tmp_path, monkeypatch):
    path = tmp_path / 'fits.safetensors'
    save_fit_store(filled(body), path)
    before = path.read_bytes()

    def full(_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(AssetError, match=r'Cannot write the fit store .*No space left on device'):
        save_fit_store(FitStore('beds', 6, body, covers=2), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ['fits.safetensors']
