"""Pools from samples: the same as from the domain itself; joints by name; what cannot teach is refused or counted."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from hwhup_core.body.joints import COCO_17, H36M_17, LSP_14, MPII_16, SLP_14
from hwhup_core.body.model import load_body
from hwhup_core.data.sample import BadSamples, Dataset, Keypoints, Sample, TrueBody
from hwhup_core.errors import ConfigError, HwhupError
from hwhup_core.geometry.cameras import HALF_CROPS_FOCAL
from hwhup_core.networks.packing import InputConfig, Modality
from hwhup_core.synthetic.domain import Cover, DomainConfig
from hwhup_core.synthetic.subjects import subject_poses
from hwhup_core.training.adapt import still_transform
from hwhup_core.training.batches import Crops, draw_weak
from hwhup_core.training.domain_pools import sensed_frame, true_pool_of, weak_pool_of
from hwhup_core.training.observe import ObservationConfig
from hwhup_core.training.pools import join_pools
from hwhup_core.training.sample_pools import keypoints_for, labelled_pool_from_samples, weak_pool_from_samples
from hwhup_core.types import Frame

OBSERVATION = ObservationConfig(picture=48)
DOMAIN = DomainConfig(poses=2, size=64, modalities=('depth', 'color'), covers=(Cover.NONE, Cover.SHEET))
BOTH = (Modality.RGB, Modality.DEPTH)


def sample_of(pose, truth, cover, sensed):
    pose72 = Rotation.from_matrix(np.concatenate([truth.global_rotation[None], truth.joint_rotations])).as_rotvec()
    return Sample(
        name=f'{pose.subject:05d}/{cover.value}/{pose.number:06d}',
        load=lambda: sensed_frame(sensed, pose),
        keypoints=Keypoints(pose.pixels, np.ones(14, bool), (~pose.occluded).astype(float)),
        body=TrueBody(pose72.reshape(72), truth.betas, 'neutral', truth.translation),
        fit_key=f'{pose.subject}/{pose.number}',
        supervision_depth=lambda: pose.covers[Cover.NONE].depth,
    )


@pytest.fixture(scope='module')
def poses():
    return list(subject_poses(DOMAIN, load_body('adult'), 3, 1))


@pytest.fixture(scope='module')
def bed(poses):
    """Return a bed as any reader would give it."""
    samples = [sample_of(pose, truth, *one) for pose, truth in poses for one in pose.covers.items()]
    return Dataset('test', Path('nowhere'), SLP_14, tuple(samples))


def changed(dataset, place, **what):
    samples = list(dataset.samples)
    samples[place] = replace(samples[place], **what)
    return replace(dataset, samples=tuple(samples))


def test_the_pool_is_the_one_of_the_domain(bed, poses):
    pool = weak_pool_from_samples(bed, OBSERVATION, BOTH)
    direct = join_pools([weak_pool_of(pose, row, 0, OBSERVATION) for row, (pose, _) in enumerate(poses)])
    assert pool.names == direct.names
    assert pool.joints == direct.joints
    for name, values in vars(direct.pictures).items():
        np.testing.assert_array_equal(getattr(pool.pictures, name), values, err_msg=name)
    for name in ('keypoints', 'confidence', 'visibility', 'proxies', 'depth', 'rows'):
        np.testing.assert_allclose(getattr(pool.labels, name), getattr(direct.labels, name), atol=1e-6, err_msg=name)
    # The plane of the bed is found by other random triples.
    assert (pool.labels.mask == direct.labels.mask).mean() > 0.98


def test_only_what_the_network_reads_is_kept(bed):
    pool = weak_pool_from_samples(bed, OBSERVATION, (Modality.DEPTH,))
    assert pool.pictures.color is None
    assert pool.pictures.depth is not None


def test_true_labels_are_those_of_the_domain(bed, poses):
    body = load_body('adult')
    pool = labelled_pool_from_samples(bed, body, OBSERVATION, BOTH)
    direct = join_pools([true_pool_of(pose, truth, body, OBSERVATION) for pose, truth in poses])
    for name, values in vars(direct.labels).items():
        np.testing.assert_allclose(getattr(pool.labels, name), values, atol=2e-4, err_msg=name)


def test_a_body_without_place_is_put_where_its_joints_are(bed):
    body = load_body('adult')
    placed = labelled_pool_from_samples(bed, body, OBSERVATION, BOTH)
    lost = replace(bed, samples=tuple(replace(each, body=replace(each.body, translation=None)) for each in bed.samples))
    found = labelled_pool_from_samples(lost, body, OBSERVATION, BOTH)
    np.testing.assert_allclose(found.labels.keypoints, placed.labels.keypoints, atol=0.01)


def test_a_body_of_another_kind_is_refused(bed):
    wrong = changed(bed, 0, body=replace(bed.samples[0].body, gender='female'))
    with pytest.raises(HwhupError, match=r'00001/uncover/000001 .* female body'):
        labelled_pool_from_samples(wrong, load_body('adult'), OBSERVATION)


@pytest.mark.parametrize(
    ('joints', 'name'),
    [(LSP_14, 'slp_16'), (COCO_17, 'coco_17'), (MPII_16, 'mpii_16'), (H36M_17, 'h36m_17'), (COCO_17[5:], 'slp_14')],
)
def test_joints_find_their_set(joints, name):
    assert keypoints_for(joints).name == name


def test_joints_without_a_set_are_refused():
    with pytest.raises(ConfigError, match='expected 8'):
        keypoints_for([f'point_{number}' for number in range(20)])


def test_joints_go_by_name_whatever_their_order(bed):
    order = np.random.default_rng(0).permutation(14)

    def shuffled(sample):
        given = sample.keypoints
        return replace(sample, keypoints=Keypoints(given.pixels[order], given.labelled[order], given.visible[order]))

    other = replace(
        bed, joints=tuple(SLP_14[place] for place in order), samples=tuple(shuffled(each) for each in bed.samples)
    )
    first, second = (weak_pool_from_samples(each, OBSERVATION) for each in (bed, other))
    for name in ('keypoints', 'visibility', 'proxies', 'mask'):
        np.testing.assert_array_equal(getattr(first.labels, name), getattr(second.labels, name))


def unknown(sample):
    return replace(sample.keypoints, visible=np.full(14, np.nan))


def test_unknown_visibility_is_refused_or_filled(bed):
    blind = changed(bed, 0, keypoints=unknown(bed.samples[0]))
    with pytest.raises(HwhupError, match=r'00001/uncover/000001 .* 14 of its joints .*VisNet'):
        weak_pool_from_samples(blind, OBSERVATION)
    asked = []

    def fill(sample, frame):
        asked.append((sample.name, frame.color.shape))
        return np.where(np.arange(14) < 7, 0.9, 0.1)

    pool = weak_pool_from_samples(blind, OBSERVATION, fill_visibility=fill)
    assert asked == [('00001/uncover/000001', (64, 64, 3))]
    assert not pool.labels.visibility[0, 7:14].any()
    assert pool.labels.visibility[0, :7].any()


def test_pictures_without_depth_teach_by_their_joints_alone():
    joints = np.stack([np.linspace(20, 60, 17), np.linspace(30, 90, 17)], axis=1)
    labelled = np.arange(17) != 3
    sample = Sample(
        name='one',
        load=lambda: Frame(1, 'camera', color=np.zeros((120, 80, 3), np.uint8)),
        keypoints=Keypoints(joints, labelled, np.full(17, np.nan)),
    )
    pool = weak_pool_from_samples(Dataset('coco', Path('nowhere'), COCO_17, (sample,)), OBSERVATION)
    assert pool.labels.confidence[0].tolist() == labelled.astype(float).tolist()
    assert not pool.labels.visibility.any()
    assert not pool.labels.mask.any()
    # The box is 2 x 60 px about (40, 60), so that the first joint is a third to the left, half way up.
    np.testing.assert_allclose(pool.labels.keypoints[0, 0], (-1 / 3, -1 / 2), atol=1e-12)
    batch = draw_weak(
        pool, np.array([0]), [np.random.default_rng(0)], still_transform, Crops(InputConfig((Modality.RGB,), 32))
    )
    assert batch.pinhole.focal[0] == pytest.approx(HALF_CROPS_FOCAL)
    torch.testing.assert_close(batch.pinhole.center, torch.zeros(1, 2), atol=1e-5, rtol=0)


def test_infants_labels_with_depth_need_no_thorax(bed):
    """COCO's joints lack the ends of the mask's neck line."""
    source = {name: place for place, name in enumerate(SLP_14)}
    names = [name for name in COCO_17 if name in source]

    def renamed(sample):
        pixels, labelled = np.zeros((17, 2)), np.zeros(17, bool)
        for name in names:
            pixels[COCO_17.index(name)] = sample.keypoints.pixels[source[name]]
            labelled[COCO_17.index(name)] = True
        return replace(sample, keypoints=Keypoints(pixels, labelled, np.ones(17)))

    crib = replace(bed, joints=COCO_17, samples=tuple(renamed(each) for each in bed.samples))
    for mask in ('cube', 'joint_range'):
        pool = weak_pool_from_samples(crib, replace(OBSERVATION, mask=mask))
        assert pool.joints == COCO_17
        assert (pool.labels.confidence.sum(axis=1) == 12).all()
        assert pool.labels.mask.any(axis=(1, 2)).all()


def without(what):
    return lambda sample: replace(sample, load=lambda: replace(sample.load(), **{what: None}))


@pytest.mark.parametrize(
    ('breaks', 'reason'),
    [
        (without('intrinsics'), 'no_intrinsics'),
        (without('color'), 'missing_color'),
        (lambda s: replace(s, keypoints=None), 'no_joints'),
        (lambda s: replace(s, keypoints=Keypoints(np.zeros((3, 2)), np.ones(3, bool), np.ones(3))), 'wrong_joints'),
        (lambda s: replace(s, supervision_depth=lambda: np.zeros((64, 64), np.float32)), 'no_depth'),
        (lambda s: replace(s, supervision_depth=lambda: np.full((64, 64), 2000, np.float32)), 'no_depth'),
        (lambda s: replace(s, supervision_depth=lambda: np.ones((32, 64), np.float32)), 'wrong_size'),
        (lambda s: replace(s, keypoints=replace(s.keypoints, visible=np.zeros(14))), 'no_visible_joint'),
        (lambda s: replace(s, keypoints=replace(s.keypoints, labelled=np.zeros(14, bool))), 'no_joints'),
    ],
)
def test_what_cannot_teach_is_named_or_counted(bed, breaks, reason):
    broken = replace(bed, samples=(breaks(bed.samples[0]), *bed.samples[1:]))
    with pytest.raises(HwhupError, match='00001/uncover/000001 cannot be used'):
        weak_pool_from_samples(broken, OBSERVATION)
    bad = BadSamples(skip=True)
    pool = weak_pool_from_samples(broken, OBSERVATION, bad=bad)
    assert dict(bad.reasons) == {reason: 1}
    assert len(pool) == len(bed) - 1
    # The rest of its pose keeps its row: rows count the poses that are left.
    assert pool.labels.rows.tolist() == [0, 1, 1]


def test_nothing_usable_is_an_error(bed):
    empty = replace(bed, samples=tuple(replace(each, keypoints=None) for each in bed.samples))
    with pytest.raises(HwhupError, match='None of the 4 samples'):
        weak_pool_from_samples(empty, OBSERVATION, bad=BadSamples(skip=True))
