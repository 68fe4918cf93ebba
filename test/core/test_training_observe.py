"""Weak labels: what is taken from depth and 2D labels, and that nothing exact can be reached from it."""

import ast
import inspect
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from hwhup_core.body.joints import SLP_14
from hwhup_core.body.model import load_body
from hwhup_core.errors import ConfigError, FrameError
from hwhup_core.geometry.proxies import Joints2D
from hwhup_core.synthetic.domain import DomainConfig, PoseTruth
from hwhup_core.synthetic.subjects import subject_poses
from hwhup_core.training import domain_pools, observe
from hwhup_core.training.observe import ObservationConfig, observation_for, weak_labels, wide_box
from hwhup_core.training.pools import Pictures, TrueLabels, WeakLabels, WeakPool
from hwhup_core.training.stages import PRESETS
from hwhup_core.types import PersonBox

OBSERVATION = ObservationConfig(picture=48)


@pytest.fixture(scope='module')
def poses():
    return list(subject_poses(DomainConfig(poses=6, size=64), load_body('adult'), 0, 1))


def labels_for(pose, config=OBSERVATION, pixels=None, visible=None, depth=None):
    pixels = pose.pixels if pixels is None else pixels
    joints = Joints2D(SLP_14, pixels, ~pose.occluded if visible is None else visible)
    depth = next(iter(pose.covers.values())).depth if depth is None else depth
    box = wide_box(pixels, config.margin)
    return weak_labels(depth, pose.intrinsics, joints, box, 4, np.random.default_rng(0), config)


def test_visible_proxies_lie_near_their_joints(poses):
    for pose, truth in poses:
        labels, names = labels_for(pose)
        true = domain_pools.named_joints(truth, load_body('adult'))
        seen = labels.visibility[0] > 0
        assert seen.sum() >= 8
        # At 4 cm a pixel a thin arm is missed now and then; its proxy is then the floor's.
        distance = np.linalg.norm(labels.proxies[0] - true, axis=1)[seen]
        assert np.median(distance) < 0.1
        assert (distance < 0.3).mean() > 0.7
        assert labels.rows.tolist() == [4]
        assert names == (*SLP_14, 'head', 'pelvis')


def test_the_mask_is_the_body_above_the_bed(poses):
    overlaps = []
    for pose, truth in poses:
        labels, _ = labels_for(pose)
        exact = domain_pools._exact(truth, wide_box(pose.pixels, OBSERVATION.margin), OBSERVATION.picture)[1]
        overlaps.append((labels.mask[0] & exact).sum() / (labels.mask[0] | exact).sum())
    # The crop has 48 pixels, a limb two or three: its border is half of it.
    assert np.mean(overlaps) > 0.4


def test_the_top_of_the_head_takes_no_part(poses):
    labels, names = labels_for(poses[0][0])
    top = names.index('head_top')
    assert labels.confidence[0, top] == labels.visibility[0, top] == 0
    assert labels.confidence[0].sum() == len(names) - 1


def test_an_unknown_joint_counts_nowhere(poses):
    pose = poses[0][0]
    pixels = pose.pixels.copy()
    pixels[SLP_14.index('left_wrist')] = np.nan
    labels, names = labels_for(pose, pixels=pixels)
    wrist = names.index('left_wrist')
    assert labels.confidence[0, wrist] == labels.visibility[0, wrist] == 0
    assert all(np.isfinite(getattr(labels, name)).all() for name in ('keypoints', 'proxies', 'visibility'))


def test_without_a_visible_joint_or_depth_there_is_no_mask(poses):
    pose = poses[0][0]
    hidden, _ = labels_for(pose, visible=np.zeros(14, bool))
    holes, _ = labels_for(pose, depth=np.zeros((64, 64), np.float32))
    for labels in (hidden, holes):
        assert not labels.mask.any()
        assert not labels.visibility.any()


def test_a_frame_without_joints_is_refused():
    for pixels in (np.full((14, 2), np.nan), np.full((14, 2), 3.0)):
        with pytest.raises(FrameError, match='no labelled joint'):
            wide_box(pixels, 2.0)
    with pytest.raises(ConfigError, match='at least 16'):
        ObservationConfig(picture=8)


def test_the_crop_has_the_camera_of_its_box(poses):
    """A joint's position in the crop and its depth give back the 3D point that the whole picture gives."""
    pose, _ = poses[0]
    box = PersonBox(30.0, 34.0, 40.0)
    frame = domain_pools.sensed_frame(next(iter(pose.covers.values())), pose)
    pictures = observe.wide_pictures(frame, pose.intrinsics, box, 48)
    position = observe.in_box(pose.pixels, box)
    there = (position - pictures.principal[0]) * pictures.half_tangent[0]
    camera = pose.intrinsics
    np.testing.assert_allclose(there, (pose.pixels - (camera.cx, camera.cy)) / camera.fx, atol=1e-9)


@pytest.mark.parametrize('name', PRESETS)
def test_observation_and_stage_agree(name):
    config = observation_for(PRESETS[name], ObservationConfig(picture=48))
    assert config.cleaning == PRESETS[name].cleaning
    assert config.proxy == PRESETS[name].proxy
    assert config.picture == 48


def reachable(value):
    """Yield every object that can be reached from a record."""
    yield value
    if is_dataclass(value):
        for field in fields(value):
            yield from reachable(getattr(value, field.name))


def test_nothing_exact_can_be_reached_from_a_weak_pool(poses):
    pose, truth = poses[0]
    pool = domain_pools.weak_pool_of(pose, 0, 0, OBSERVATION)
    found = list(reachable(pool))
    assert {type(value) for value in found} <= {WeakPool, WeakLabels, Pictures, np.ndarray, tuple, type(None)}
    names = {field.name for record in (WeakLabels, Pictures) for field in fields(record)}
    assert not names & {field.name for field in (*fields(PoseTruth), *fields(TrueLabels))} - {
        'keypoints', 'depth', 'mask',
    }  # fmt: skip
    exact_depth, exact_mask = domain_pools._exact(truth, wide_box(pose.pixels, OBSERVATION.margin), 48)
    assert not np.array_equal(pool.labels.depth[0], observe.stored_depth(exact_depth))
    assert not np.array_equal(pool.labels.mask[0], exact_mask)
    assert 'truth' not in inspect.signature(domain_pools.weak_pool_of).parameters


def test_what_adapts_does_not_know_the_synthetic_world():
    folder = Path(observe.__file__).parent
    for name in ('observe', 'pools', 'batches', 'transforms', 'weak_step', 'adapt', 'slp_pools', 'slp_run', 'held_out'):
        tree = ast.parse((folder / f'{name}.py').read_text())
        modules = [node.module or '' for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        assert not [module for module in modules if 'synthetic' in module or 'domain_pools' in module], name


def test_inputs_stay_as_they_were(poses):
    pose = replace(poses[1][0])
    depth = next(iter(pose.covers.values())).depth
    kept, pixels = depth.copy(), pose.pixels.copy()
    labels_for(pose)
    np.testing.assert_array_equal(depth, kept)
    np.testing.assert_array_equal(pose.pixels, pixels)
