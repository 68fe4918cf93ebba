"""One transform a sample: pictures, joints, proxies, masks, cameras and bodies move together; ranks share batches."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hwhup_core.body.joints import SLP_14
from hwhup_core.body.keypoint_sets import keypoint_set, point_map
from hwhup_core.body.model import load_body
from hwhup_core.errors import ConfigError
from hwhup_core.geometry.cameras import pinhole_project
from hwhup_core.networks.packing import InputConfig, Modality
from hwhup_core.synthetic.domain import Cover, DomainConfig
from hwhup_core.synthetic.subjects import subject_poses
from hwhup_core.training import domain_pools
from hwhup_core.training.batches import Crops, PoolBatches, draw_labelled, draw_weak
from hwhup_core.training.observe import ObservationConfig
from hwhup_core.training.pools import join_pools
from hwhup_core.training.transforms import (
    BoxAugmentConfig,
    Transform,
    box_transform,
    draw_box,
    move_points,
    turn_directions,
    warp_depth,
    warp_mask,
    warp_picture,
)

DOMAIN = DomainConfig(poses=6, size=64, modalities=('depth', 'infrared'))
OBSERVATION = ObservationConfig(picture=48)
CROPS = Crops(InputConfig(size=32))
MOVES = (
    Transform(0.0, 1.0, np.zeros(2)),
    Transform(0.7, 1.4, np.array([0.1, -0.2])),
    Transform(0.0, 1.2, np.array([0.05, 0.1]), flip=True),
    Transform(-1.1, 1.1, np.array([-0.15, 0.05]), flip=True),
)


@pytest.fixture(scope='module')
def people():
    """Return body, weak pool, true pool and the true named joints (m) of one subject in bed."""
    body = load_body('adult')
    poses = list(subject_poses(DOMAIN, body, 3, 1))
    weak = join_pools([domain_pools.weak_pool_of(pose, k, 0, OBSERVATION) for k, (pose, _) in enumerate(poses)])
    true = join_pools([domain_pools.true_pool_of(pose, truth, body, OBSERVATION) for pose, truth in poses])
    points = np.stack([domain_pools.named_joints(truth, body) for _, truth in poses])
    pelvis = np.stack([truth.joints[0] for _, truth in poses])
    return body, weak, true, points, pelvis


def always(move):
    return lambda points, rng: move


def generators(count):
    return [np.random.default_rng(k) for k in range(count)]


def placed(body, batch, pelvis, move):
    """Return the batch's bodies as named joints (m), each with its pelvis where the turned camera sees it."""
    skeleton = body.skeleton(batch.params)
    points = point_map(keypoint_set('slp_16'), body.landmark_names).mix @ torch.cat(
        [skeleton.joints, skeleton.landmarks], dim=1
    )
    here = torch.from_numpy(turn_directions(pelvis, move)).float()
    return points - skeleton.joints[:, :1] + here[:, None]


@pytest.mark.parametrize('move', MOVES)
def test_the_moved_pinhole_sees_the_moved_body_at_the_moved_joints(people, move):
    body, _, true, _, pelvis = people
    places = np.arange(len(true))
    batch = draw_labelled(true, places, generators(len(true)), always(move), CROPS)
    seen = pinhole_project(placed(body, batch, pelvis, move), batch.pinhole)
    # The bundled bodies are as symmetric as a fifth of a millimetre.
    torch.testing.assert_close(seen, batch.keypoints, rtol=0, atol=3e-4 if move.flip else 1e-4)


@pytest.mark.parametrize('move', MOVES)
def test_proxies_on_a_body_stay_on_it(people, move):
    body, weak, true, points, pelvis = people
    places = np.arange(len(true))
    on_body = replace(weak, labels=replace(weak.labels, proxies=points))
    batch = draw_weak(on_body, places, generators(len(true)), always(move), CROPS)
    bodies = draw_labelled(true, places, generators(len(true)), always(move), CROPS)
    torch.testing.assert_close(batch.observation.proxies, placed(body, bodies, pelvis, move), rtol=0, atol=3e-4)
    torch.testing.assert_close(batch.pinhole.focal, bodies.pinhole.focal)
    torch.testing.assert_close(batch.pinhole.center, bodies.pinhole.center)
    torch.testing.assert_close(batch.augmentation.rotation, torch.full((len(true),), move.angle, dtype=torch.float32))


def test_a_mirrored_sample_swaps_the_flags_of_left_and_right(people):
    _, weak, _, _, _ = people
    left, right = (weak.joints.index(f'{side}_wrist') for side in ('left', 'right'))
    labels = weak.labels
    visibility = labels.visibility.copy()
    visibility[:, left], visibility[:, right] = 1, 0
    confidence = labels.confidence.copy()
    confidence[:, right] = 0
    pool = replace(weak, labels=replace(labels, visibility=visibility, confidence=confidence))
    batch = draw_weak(pool, np.arange(2), generators(2), always(MOVES[2]), CROPS)
    assert batch.observation.visibility[:, [left, right]].tolist() == [[0, 1]] * 2
    assert batch.observation.confidence[:, [left, right]].tolist() == [[0, 1]] * 2


@pytest.mark.parametrize('move', MOVES)
def test_picture_depth_and_mask_move_as_points_do(move):
    """A disc in a picture of 200 lands where its centre's position says, to a fifth of a pixel of 100."""
    size, spot = 200, np.array([0.2, -0.1])
    x, y = np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5)
    disc = np.hypot(x - (spot[0] + 1) * size / 2, y - (spot[1] + 1) * size / 2) < 15
    expected = (move_points(spot[None], move)[0] + 1) * 50
    for warped in (
        warp_mask(disc, move, 100),
        warp_picture((200 * disc).astype(np.uint8), move, 100) > 100,
        warp_depth((20_000 * disc).astype(np.uint16), move, 100) > 0,
    ):
        rows, columns = np.nonzero(warped)
        np.testing.assert_allclose([columns.mean() + 0.5, rows.mean() + 0.5], expected, atol=0.2)


def test_depth_keeps_its_metres_and_holes_never_mix_in():
    depth = np.full((40, 40), 21_000, np.uint16)
    depth[:, 20:] = 0
    warped = warp_depth(depth, Transform(0.3, 1.0, np.zeros(2)), 40)
    assert ((warped == 0) | (np.abs(warped - 2.1) < 1e-5)).all()
    assert 0.3 < (warped > 0).mean() < 0.6


def test_the_turned_camera_is_exact_not_only_for_bodies():
    """Any point: projecting, then moving the position, is turning the point, then projecting by the moved camera."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(20, 3)) * 0.4 + (0.0, 0.0, 2.0)
    half_tangent, principal = 0.45, np.array([0.1, -0.05])
    position = points[:, :2] / points[:, 2:] / half_tangent + principal
    for move in MOVES:
        turned = turn_directions(points, move)
        center = move_points(principal[None], move)[0]
        seen = move.zoom / half_tangent * turned[:, :2] / turned[:, 2:] + center
        np.testing.assert_allclose(seen, move_points(position, move), atol=1e-12)


def test_a_box_holds_the_joints_with_its_margin():
    points = np.array([[-0.4, 0.1], [0.3, 0.2], [0.0, -0.2]])
    for angle, flip in ((0.0, False), (0.9, False), (-0.4, True)):
        moved = move_points(points, box_transform(points, 1.25, angle, flip))
        extent = moved.max(axis=0) - moved.min(axis=0)
        assert extent.max() == pytest.approx(2 / 1.25)
        np.testing.assert_allclose((moved.max(axis=0) + moved.min(axis=0)) / 2, 0, atol=1e-12)


def test_augmentation_keeps_its_limits_and_shares():
    config = BoxAugmentConfig()
    points = np.array([[-0.4, -0.3], [0.4, 0.3]])
    drawn = [draw_box(points, np.random.default_rng(k), config) for k in range(400)]
    angles = np.degrees([move.angle for move in drawn])
    assert np.abs(angles).max() <= config.turn_limit + 1e-9
    assert (angles != 0).mean() == pytest.approx(config.turn_share, abs=0.08)
    assert np.mean([move.flip for move in drawn]) == pytest.approx(config.flip, abs=0.08)
    with pytest.raises(ConfigError, match='shares'):
        BoxAugmentConfig(flip=1.5)


def weak_batches(pool, batch_size=3, seed=5):
    crops = Crops(InputConfig(modalities=(Modality.INFRARED, Modality.DEPTH), size=32), gain=0.4)
    augment = BoxAugmentConfig()
    return PoolBatches(
        lambda indices, rngs: draw_weak(pool, indices, rngs, lambda points, rng: draw_box(points, rng, augment), crops),
        pool.names, batch_size, seed,
    )  # fmt: skip


def leaves(record):
    found = []
    record.map(lambda tensor: found.append(tensor) or tensor)
    return found


def test_two_ranks_together_draw_the_batch_of_one_process(people):
    _, weak, _, _, _ = people
    batches = weak_batches(weak)
    whole = list(batches.epoch(4))
    assert len(whole) == len(batches) == 2
    for step, ranks in enumerate(zip(*(batches.epoch(4, rank, 2) for rank in (0, 1)))):
        assert [len(part.images) for part in ranks] == [2, 1]
        for rank, part in enumerate(ranks):
            for one, other in zip(leaves(part), leaves(whole[step]), strict=True):
                assert torch.equal(one, other[rank::2])


def test_an_epoch_is_a_function_of_seed_and_epoch(people):
    _, weak, _, _, _ = people
    once, again = (torch.cat([batch.images for batch in weak_batches(weak).epoch(1)]) for _ in range(2))
    assert torch.equal(once, again)
    for other in (weak_batches(weak).epoch(2), weak_batches(weak, seed=6).epoch(1)):
        assert not torch.equal(once, torch.cat([batch.images for batch in other]))
    indices = torch.cat([batch.indices for batch in weak_batches(weak).epoch(1)]).tolist()
    assert sorted(indices) == list(range(6))


def test_batches_name_their_frames_and_refuse_what_they_cannot_fill(people):
    _, weak, _, _, _ = people
    batches = weak_batches(weak)
    batch = next(iter(batches.epoch(0)))
    assert batches.names(batch) == [weak.names[k] for k in batch.indices.tolist()]
    assert batches.names(batch)[0].startswith('00001/uncover/')
    with pytest.raises(ConfigError, match='6 samples do not fill one batch of 7'):
        weak_batches(weak, 7)
    with pytest.raises(ConfigError, match='cannot be shared by 4'):
        next(iter(batches.epoch(0, 0, 4)))
    with pytest.raises(ConfigError, match='no rgb pictures'):
        draw_weak(weak, np.arange(1), generators(1), always(MOVES[0]), Crops(InputConfig((Modality.RGB,), 32)))


def test_samples_of_one_pose_share_the_row_of_the_store():
    domain = replace(DOMAIN, poses=1, covers=(Cover.NONE, Cover.SHEET), modalities=('depth',))
    pose, _ = next(iter(subject_poses(domain, load_body('adult'), 3, 1)))
    pool = domain_pools.weak_pool_of(pose, 7, 0, OBSERVATION)
    assert pool.labels.rows.tolist() == [7, 7]
    assert pool.names == ('00001/uncover/000001', '00001/cover1/000001')
    assert np.array_equal(pool.labels.depth[0], pool.labels.depth[1])
    assert not np.array_equal(pool.pictures.depth[0], pool.pictures.depth[1])
    assert pool.joints[:14] == SLP_14
