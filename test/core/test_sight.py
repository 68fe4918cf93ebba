"""VisNet in the engine: which weights, which joints, and what happens without depth."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hwhup_core.body.joints import COCO_17, SMPL_24, index
from hwhup_core.errors import AssetError, ConfigError
from hwhup_core.geometry.cameras import project
from hwhup_core.inference import EngineConfig, build_engine
from hwhup_core.inference.sight import FACE, Sight, joint_chances, visnet_for
from hwhup_core.networks.packing import InputConfig, Modality
from hwhup_core.synthetic.stream import CribStream, StreamConfig
from hwhup_core.types import PersonBox, State

DEPTH, RGB = InputConfig(), InputConfig(modalities=(Modality.RGB,))


@pytest.mark.parametrize(
    ('name', 'inputs', 'expected'),
    [
        ('auto', DEPTH, 'visnet_depth'),
        ('auto', RGB, 'visnet_rgb'),
        ('auto', InputConfig(modalities=(Modality.PRESSURE,)), None),
        ('auto', InputConfig(modalities=(Modality.DEPTH, Modality.INFRARED)), None),
        ('off', DEPTH, None),
        ('mine.safetensors', RGB, 'mine.safetensors'),
    ],
)
def test_which_visnet_goes_with_the_weights(name, inputs, expected):
    assert visnet_for(name, inputs) == expected


def test_chances_go_to_the_joints_of_the_same_name():
    seen, geometric = np.linspace(0.1, 0.9, 17), np.full(24, np.nan)
    geometric[index('spine1')] = 1.0
    chances = joint_chances(seen, geometric)
    assert chances[index('left_knee')] == seen[index('left_knee', COCO_17)]
    assert chances[index('right_wrist')] == seen[index('right_wrist', COCO_17)]
    assert chances[index('head')] == max(seen[index(name, COCO_17)] for name in FACE)
    assert chances[index('spine1')] == 1.0
    assert np.isnan(chances[index('left_hand')])
    assert np.isnan(geometric[index('left_knee')])  # What came in is unchanged.
    assert np.isfinite(chances).sum() == 12 + 1 + 1


@pytest.fixture(scope='module')
def scene():
    """Return a frame, its truth, and the box around the true joints."""
    frame, truth = CribStream(StreamConfig(width=320, height=240, focal_px=280.0), seed=1).frame(0, 0.0)
    pixels = project(truth.joints, frame.intrinsics)
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    middle = (low + high) / 2
    return frame, truth, PersonBox(float(middle[0]), float(middle[1]), 1.35 * float((high - low).max()))


@pytest.mark.parametrize('weights', ['crib_depth', 'crib_rgb'])
def test_an_engine_publishes_chances_even_without_depth(scene, weights):
    frame, truth, box = scene
    frame = frame if weights == 'crib_depth' else replace(frame, depth=None)
    (answer,) = build_engine(EngineConfig(weights=weights))(frame, [box])
    assert answer.state != State.NO_PERSON
    limbs = [index(name) for name in COCO_17 if name in SMPL_24]
    chances, seen = answer.joint_visibility[limbs], truth.visibility[limbs].astype(bool)
    assert ((chances >= 0) & (chances <= 1)).all()
    assert 0 < seen.sum() < len(limbs), 'The scene shows all joints or none; choose another seed.'
    assert chances[seen].mean() > chances[~seen].mean()


def test_off_is_measured_depth_alone(scene):
    frame, _, box = scene
    answer = build_engine(EngineConfig(visnet='off'))(frame, [box])[0]
    assert set(answer.joint_visibility[~np.isnan(answer.joint_visibility)]) <= {0.0, 1.0}


def test_a_visnet_that_reads_something_else_is_refused():
    with pytest.raises(ConfigError, match='reads rgb, the weights read depth'):
        Sight('visnet_rgb', torch.device('cpu'), DEPTH)
    with pytest.raises(AssetError, match='nowhere'):
        build_engine(EngineConfig(visnet='nowhere.safetensors'))
