"""People whose joints are known to be seen or hidden: the flags by hand, covers, pools, crops, and a short training."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hwhup_core.body.joints import COCO_17, FLIP_COCO_17, index
from hwhup_core.body.model import load_body
from hwhup_core.data.sample import Dataset, Keypoints, Sample
from hwhup_core.errors import AssetError, ConfigError
from hwhup_core.networks.packing import InputConfig, Modality
from hwhup_core.networks.visnet import VisNetConfig
from hwhup_core.networks.visnet_checkpoint import load_visnet
from hwhup_core.synthetic import coco_people
from hwhup_core.synthetic.coco_people import HIDDEN, NOT_LABELLED, SEEN, PeopleConfig, coco_flags, own_skin, seen_people
from hwhup_core.synthetic.domain import DomainConfig
from hwhup_core.synthetic.scene import Material, SceneRender
from hwhup_core.synthetic.subjects import placed_people
from hwhup_core.training import visnet_pool, visnet_run
from hwhup_core.training.loop import LoopConfig
from hwhup_core.training.transforms import Transform
from hwhup_core.training.visnet_batches import ViewConfig, draw_people, still_view, vis_batches
from hwhup_core.training.visnet_pool import coco_source, load_vis_pool, save_vis_pool, synthetic_pool
from hwhup_core.types import Frame, PersonBox

CRIB = DomainConfig(kind='crib', body='infant', poses=4, size=96, modalities=('depth', 'color'))
BARE = PeopleConfig(CRIB, sheet=0.0, blanket=0.0, arm=0.0)
INPUTS = InputConfig(size=48)


@pytest.fixture(scope='module')
def infant():
    return load_body('infant')


@pytest.fixture(scope='module')
def pool():
    patch = pytest.MonkeyPatch()
    patch.setattr(visnet_pool, 'KINDS', {'crib': PeopleConfig(CRIB), 'room': PeopleConfig(replace(CRIB, kind='room'))})
    made = synthetic_pool({'crib': 2, 'room': 1}, seed=0, picture=64, workers=1)
    patch.undo()
    return made


def flag_of(depth=2.0, material=Material.BODY, face=0, own=True, joint_z=2.0, pixel=(5.5, 5.5)):
    """Return the flag of one joint in a picture that shows the same everywhere; face 0 is its own skin or not."""
    shape = (11, 11)
    render = SceneRender(
        np.full(shape, depth, np.float32), np.full(shape, material, np.uint8), np.full(shape, face, np.int32)
    )
    joints = np.tile([0.0, 0.0, joint_z], (17, 1))
    return coco_flags(joints, np.tile(pixel, (17, 1)).astype(float), render, np.full((1, 17), own))[3]


def test_flags_by_hand():
    assert flag_of(depth=1.9) == SEEN  # Its own flesh is over it.
    assert flag_of(depth=1.9, own=False) == HIDDEN  # Another part of the body is.
    assert flag_of(depth=2.2, own=False) == SEEN  # The other part is behind it.
    assert flag_of(depth=1.999, material=Material.SHEET, face=-1) == HIDDEN
    assert flag_of(depth=2.05, material=Material.BLANKET, face=-1) == SEEN  # The arm lies on the blanket.
    assert flag_of(depth=1.6, material=Material.CAREGIVER, face=-1) == HIDDEN
    assert flag_of(depth=1.99, material=Material.MATTRESS, face=-1) == SEEN  # It has sunk in.
    assert flag_of(depth=1.95, material=Material.FURNITURE, face=-1) == HIDDEN
    assert flag_of(depth=0.0, material=Material.NOTHING, face=-1) == SEEN
    for outside in ((-0.1, 5.0), (11.0, 5.0), (5.0, 11.5), (np.nan, 5.0)):
        assert flag_of(pixel=outside) == NOT_LABELLED


def test_skin_beside_the_joints_pixel_counts():
    face = np.full((5, 5), -1, np.int32)
    face[2, 3] = 0
    picture = SceneRender(np.full((5, 5), 1.5, np.float32), np.full((5, 5), Material.WOOD, np.uint8), face)
    joints = np.tile([0.0, 0.0, 2.0], (17, 1))
    owned = np.ones((1, 17), bool)
    assert coco_flags(joints, np.tile([2.5, 2.5], (17, 1)), picture, owned)[0] == SEEN
    assert coco_flags(joints, np.tile([1.5, 2.5], (17, 1)), picture, owned)[0] == HIDDEN  # Two pixels away.


def test_skin_is_that_of_its_joint(infant):
    setup, _, _ = placed_people(CRIB, infant, 0, 1)
    owned = own_skin(infant, setup)
    assert owned.any(axis=0).all()
    left, right = (owned[:, index(f'{side}_wrist', COCO_17)] for side in ('left', 'right'))
    assert not (left & right).any()
    counts = owned.sum(axis=0)
    np.testing.assert_allclose(counts, counts[list(FLIP_COCO_17)], rtol=0.3)
    assert not (owned[:, 0] & owned[:, index('left_hip', COCO_17)]).any()


def test_people_are_the_same_again_and_blankets_hide_them(infant):
    bare = list(seen_people(BARE, infant, 0, 1))
    again = list(seen_people(BARE, infant, 0, 1))
    covered = list(seen_people(replace(BARE, blanket=1.0), infant, 0, 1))
    for one, other, under in zip(bare, again, covered):
        np.testing.assert_array_equal(one.sensed.depth, other.sensed.depth)
        np.testing.assert_array_equal(one.sensed.color, other.sensed.color)
        np.testing.assert_array_equal(one.flags, other.flags)
        np.testing.assert_array_equal(one.pixels, under.pixels)
        assert not ((one.flags == HIDDEN) & (under.flags == SEEN)).any()
        assert ((one.pixels > 0) & (one.pixels < 96)).all()
        assert set(np.unique(one.flags)) <= {HIDDEN, SEEN}
    hidden = [np.mean([person.flags == HIDDEN for person in people]) for people in (bare, covered)]
    assert hidden[0] < 0.6
    assert hidden[1] > hidden[0] + 0.15


def test_a_person_who_does_not_show_is_left_out(infant, monkeypatch):
    names = [person.name for person in seen_people(BARE, infant, 0, 1)]
    shown = coco_people._picture
    pictures = []

    def second_is_empty(*arguments):
        pictures.append(shown(*arguments))
        if len(pictures) != 2:
            return pictures[-1]
        return replace(pictures[-1], body_face=np.full_like(pictures[-1].body_face, -1))

    monkeypatch.setattr(coco_people, '_picture', second_is_empty)
    assert [person.name for person in seen_people(BARE, infant, 0, 1)] == [names[0], *names[2:]]


def test_chances_that_are_none_are_refused():
    with pytest.raises(ConfigError, match='no chances'):
        PeopleConfig(CRIB, sheet=0.7, blanket=0.7)
    with pytest.raises(ConfigError, match='at least 1'):
        PeopleConfig(CRIB, margin=0.5)


def test_pools_come_back(pool, tmp_path):
    assert len(pool) == 12
    assert pool.domains == ('crib', 'room')
    assert list(pool.labels.domains) == [0] * 8 + [1] * 4
    assert len(np.unique(pool.labels.subjects)) == 3
    assert pool.pictures.color.shape == (12, 64, 64, 3)
    file = tmp_path / 'pool.npz'
    save_vis_pool(file, pool)
    found = load_vis_pool(file)
    assert (found.names, found.domains) == (pool.names, pool.domains)
    np.testing.assert_array_equal(found.labels.flags, pool.labels.flags)
    np.testing.assert_array_equal(found.pictures.depth, pool.pictures.depth)
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(AssetError, match='not a whole pool'):
        load_vis_pool(file)
    with pytest.raises(ConfigError, match='some of crib'):
        synthetic_pool({'zoo': 1}, 0, 64)


def test_subjects_whom_no_picture_shows_are_left_out(monkeypatch):
    def second_alone(config, body, seed, subject):
        return iter(()) if subject == 1 else seen_people(config, body, seed, subject)

    monkeypatch.setattr(visnet_pool, 'KINDS', {'crib': PeopleConfig(CRIB)})
    monkeypatch.setattr(visnet_pool, 'seen_people', second_alone)
    assert set(synthetic_pool({'crib': 2}, 0, 48, workers=1).labels.subjects) == {2}


def test_a_mirrored_crop_swaps_left_and_right(pool):
    def straight(points, rng):
        return Transform(0.0, 1.0, np.zeros(2))

    def mirrored(points, rng):
        return Transform(0.0, 1.0, np.zeros(2), flip=True)

    rngs = [np.random.default_rng(0)]
    one = draw_people(pool, np.array([2]), rngs, straight, INPUTS, 0.0)
    other = draw_people(pool, np.array([2]), rngs, mirrored, INPUTS, 0.0)
    torch.testing.assert_close(other.images.flip(3), one.images)
    torch.testing.assert_close(other.keypoints[0, list(FLIP_COCO_17)] * torch.tensor([-1.0, 1.0]), one.keypoints[0])
    torch.testing.assert_close(other.flags[0, list(FLIP_COCO_17)], one.flags[0])


def test_joints_outside_the_crop_have_no_label(pool):
    def close(points, rng):
        return Transform(0.0, 6.0, np.zeros(2))

    batch = draw_people(pool, np.arange(12), [np.random.default_rng(0)] * 12, close, INPUTS, 0.0)
    outside = (np.abs(6.0 * pool.labels.keypoints) >= 1).any(axis=2)
    assert outside.any()
    np.testing.assert_array_equal(batch.flags.numpy() == 0, outside)
    assert (batch.keypoints.numpy()[outside] == 0).all()


def test_still_crops_stand_upright_and_hold_everyone(pool):
    batch = draw_people(pool, np.arange(12), [np.random.default_rng(0)] * 12, still_view, INPUTS, 0.0)
    assert (batch.flags > 0).all()
    hips, shoulders = (
        batch.keypoints[:, [index(f'left_{name}', COCO_17), index(f'right_{name}', COCO_17)]].mean(dim=1)
        for name in ('hip', 'shoulder')
    )
    torch.testing.assert_close(hips[:, 0], shoulders[:, 0], atol=1e-4, rtol=0)
    assert (shoulders[:, 1] < hips[:, 1]).all()


def test_colour_and_depth_show_the_same_crop(pool):
    for modality in (Modality.RGB, Modality.DEPTH):
        batches = vis_batches(pool, replace(INPUTS, modalities=(modality,)), ViewConfig(), 4, seed=3)
        batch = next(iter(batches.epoch(0)))
        assert batch.images.shape == (4, 3, 48, 48)
        if modality is Modality.RGB:
            kept = batch
    torch.testing.assert_close(batch.keypoints, kept.keypoints)
    torch.testing.assert_close(batch.flags, kept.flags)
    dark = replace(pool, pictures=replace(pool.pictures, infrared=np.zeros((12, 64, 64), np.uint8)))
    infrared = replace(INPUTS, modalities=(Modality.INFRARED,))
    with pytest.raises(ConfigError, match='not on infrared'):
        draw_people(dark, np.array([0]), [np.random.default_rng(0)], still_view, infrared, 0.0)


def coco_sample(name, color, visible, labelled):
    pixels = np.stack([np.linspace(40, 60, 17), np.linspace(20, 80, 17)], axis=1)
    return Sample(
        name,
        load=lambda: Frame(1, 'coco', color=color),
        keypoints=Keypoints(pixels, labelled, visible),
        box=PersonBox(50.0, 50.0, 60.0),
        tags={'split': 'val2017'},
    )


def test_official_people_are_read_one_by_one():
    color = np.zeros((100, 100, 3), np.uint8)
    color[45:55, 45:55] = 200
    visible = np.where(np.arange(17) % 2, 1.0, 0.0)
    labelled = np.arange(17) < 10
    good = coco_sample('val2017/7/1', color, visible, labelled)
    blind = coco_sample('val2017/7/2', color, visible * np.nan, labelled)
    source = coco_source(Dataset('coco', Path('here'), COCO_17, (good, blind)), 'val2017', size=64)
    assert source.names == ('val2017/7/1',)  # The other's labels say nothing of what is seen.
    np.testing.assert_array_equal(source.labels.flags[0], [HIDDEN, SEEN] * 5 + [NOT_LABELLED] * 7)
    # The box is 60 pixels, the picture of twice that: pixel 40 is 10 of 60 left of the middle.
    np.testing.assert_allclose(source.labels.keypoints[0, 0], [-10 / 60, -30 / 60])
    assert np.isnan(source.labels.keypoints[0, 12]).all()
    inputs = InputConfig((Modality.RGB,), size=40)
    batch = draw_people(source, np.array([0]), [np.random.default_rng(0)], still_view, inputs, 0.0)
    assert batch.images[0, 0, 20, 20] > batch.images[0, 0, 2, 2] + 1  # The bright middle stays in the middle.
    assert int((batch.flags > 0).sum()) == 10
    with pytest.raises(AssetError, match='no person with flagged joints'):
        coco_source(Dataset('coco', Path('here'), COCO_17, (blind,)), 'val2017')
    with pytest.raises(ConfigError, match="Expected COCO's 17"):
        coco_source(Dataset('other', Path('here'), COCO_17[:5], (good,)), '')


def test_a_short_training_leaves_weights_and_goes_on(pool, tmp_path, monkeypatch):
    network = VisNetConfig(input_size=48, stem_width=4, widths=(8, 8), blocks=(1, 1), deconvolutions=(8,))
    config = visnet_run.VisNetTrainConfig(
        subjects={'crib': 2, 'room': 1}, held_out={'crib': 2, 'room': 1}, picture=64, network=network,
        inputs=INPUTS, batch_size=4, loop=LoopConfig(epochs=1),
    )  # fmt: skip
    asked = []

    def made(subjects, seed, picture):
        asked.append(seed)
        return pool

    monkeypatch.setattr(visnet_run, 'synthetic_pool', made)
    stem = visnet_run.train_visnet(config, tmp_path, 'hwhup train-visnet')
    assert stem == tmp_path / 'visnet_depth' / 'visnet_depth'
    assert len(set(asked)) == 3  # People to train on, to look at and to score differ.
    loaded, card = load_visnet(stem)
    assert loaded.config == network
    assert set(card.metrics) == {'auc', 'auc_peak', 'auc_crib', 'auc_peak_crib'}  # One in the room: no interval.
    assert card.training_command == 'hwhup train-visnet'
    answers = visnet_run.answer(loaded, pool, INPUTS, batch_size=5)
    whole = visnet_run.answer(loaded, pool, INPUTS, batch_size=12)
    np.testing.assert_allclose(answers.logits, whole.logits, atol=1e-5)
    written = (tmp_path / 'visnet_depth' / 'visnet_depth.json').read_text()
    assert visnet_run.train_visnet(config, tmp_path, 'hwhup train-visnet') == stem
    assert len(asked) == 3  # All that was there already is taken.
    assert json.loads(written)['weights_hash'] == load_visnet(stem)[1].weights_hash
    visnet_run.train_with_baseline(config, tmp_path, 'hwhup train-visnet --baseline')
    alone = load_visnet(tmp_path / 'visnet_depth_pose_only' / 'visnet_depth_pose_only')[1]
    assert load_visnet(stem)[1].metrics['auc_simple_baseline'] == alone.metrics['auc_peak']


def test_areas_are_over_labelled_joints():
    flags = np.zeros((2, 17), int)
    flags[:, :4] = [[SEEN, HIDDEN, SEEN, NOT_LABELLED], [HIDDEN, SEEN, NOT_LABELLED, HIDDEN]]
    logits = np.zeros((2, 17))
    logits[:, :4] = [[3.0, 1.0, 0.5, 9.0], [0.0, 2.0, -9.0, 0.7]]
    empty = np.zeros((2, 17, 2))
    answers = visnet_run.Answers(logits, -logits, empty, empty, flags, np.array([1, 2]), np.array([0, 1]))
    # Seen 3, 0.5 and 2 against hidden 1, 0 and 0.7: 0.5 loses twice.
    found = visnet_run.figures(answers, ('bed', 'room'))
    assert found['auc'].mean == pytest.approx(7 / 9)
    assert found['auc_peak'].mean == pytest.approx(2 / 9)
    assert found['auc_bed'].mean == pytest.approx(1 / 2)
    assert found['auc_room'].mean == pytest.approx(1.0)
    assert found['auc'].count == 6


def test_configurations_that_cannot_be_are_refused(tmp_path):
    with pytest.raises(ConfigError, match='Make them equal'):
        visnet_run.VisNetTrainConfig(inputs=InputConfig(size=64))
    with pytest.raises(ConfigError, match='colour pictures alone'):
        visnet_run.VisNetTrainConfig(people='coco')
    with pytest.raises(ConfigError, match='hwhup config set'):
        visnet_run.coco_people(None, 'val2017')
    file = tmp_path / 'visnet.yaml'
    file.write_text('batch_size: 8\n')
    assert visnet_run.load_train_config(file, 'rgb').inputs.modalities == (Modality.RGB,)
    with pytest.raises(ConfigError, match='Choose depth or rgb'):
        visnet_run.load_train_config(file, 'sound')
