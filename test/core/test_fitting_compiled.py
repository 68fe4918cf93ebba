"""The compiled twin of the fit: energies, gradients and fits equal torch's; what cannot be compiled is refused."""

import math
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from hwhup_core.body.files import read_body_file
from hwhup_core.body.keypoint_sets import keypoint_set, point_map
from hwhup_core.body.model import ASSETS, BodyModel, load_body
from hwhup_core.body.priors import Mixture, MixturePrior
from hwhup_core.errors import ConfigError
from hwhup_core.fitting import smplify as smplify_module
from hwhup_core.fitting.config import SmplifyConfig
from hwhup_core.fitting.energies import project_to_crop
from hwhup_core.fitting.inputs import BodyInputs, CameraInputs
from hwhup_core.fitting.minimise import AdamSettings, minimise
from hwhup_core.fitting.smplify import Smplify, pack, unpack
from hwhup_core.geometry.cameras import crop_translation
from hwhup_core.types import CropPinhole, Prediction, WeakPerspective

pytest.importorskip('numba')
from hwhup_core.fitting.compiled import CompiledEnergies  # noqa: E402

ROWS = 9


def random(*shape, seed=0, scale=1.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale


def mixture():
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(4, 69, 69)) * 0.03
    covariances = factors @ factors.transpose(0, 2, 1) + 0.05 * np.eye(69)
    return MixturePrior(Mixture(rng.normal(size=(4, 69)) * 0.2, covariances, np.array([0.1, 0.2, 0.3, 0.4])))


def posed_body():
    """Return a body with pose directions, which the bundled ones have not."""
    file = read_body_file(ASSETS / 'infant.npz')
    directions = np.random.default_rng(1).normal(size=(len(file.template), 3, 207)) * 0.01
    return BodyModel(replace(file, pose_directions=directions.astype(np.float32)))


BODIES = {'adult': lambda: load_body('adult'), 'infant': lambda: load_body('infant'), 'posed': posed_body}


def twins(body, name, config=SmplifyConfig(), dtype=torch.float64):  # noqa: B008
    body, prior = BODIES[body]().to(dtype), mixture().to(dtype)
    eager = Smplify(body, keypoint_set(name), prior, replace(config, backend='eager'))
    return eager, CompiledEnergies(body, point_map(keypoint_set(name), body.landmark_names), prior, config)


def directions(*shape, seed):
    return torch.nn.functional.normalize(random(*shape, 3, seed=seed), dim=-1)


def extreme(vectors):
    """Return axis-angle vectors (9, j, 3) whose last rows are: near pi, pi, at 0, near 0, at the series' end, far."""
    count = vectors.shape[1]
    rows = [directions(count, seed=row) * angle for row, angle in enumerate((math.pi - 1e-7, math.pi, 0, 1e-6, 1e-4))]
    return torch.cat([vectors[:3], torch.stack([*rows, directions(count, seed=9) * 9])])


def cameras():
    return CropPinhole(2 + random(ROWS, seed=3, scale=0.2), random(ROWS, 2, seed=4, scale=0.5))


def body_inputs(points):
    translation = torch.tensor([0.0, 0.1, 2.0]).double() + random(ROWS, 3, seed=5, scale=0.1)
    translation[1, 2], translation[2, 2] = -3.0, 0.2  # Behind the camera, and around it.
    confidence = random(ROWS, points, seed=6).abs()
    confidence[0], confidence[3, ::2] = 0, 0
    pixels = 112 + random(ROWS, points, 2, seed=7, scale=80)
    return BodyInputs(translation, pixels, confidence, random(ROWS, seed=8).abs(), cameras())


def compare(function, twin, variable, inputs):
    traced = variable.clone().requires_grad_()
    expected = function(traced, inputs)
    (slope,) = torch.autograd.grad(expected.sum(), traced)
    energy, gradient = twin(variable, inputs)
    assert torch.allclose(energy, expected, rtol=1e-10)
    assert ((gradient - slope).norm(dim=1) <= 1e-8 * slope.norm(dim=1)).all()


@pytest.mark.parametrize('name', ['spin_49', 'coco_17', 'slp_14'])
@pytest.mark.parametrize('body', BODIES)
def test_body_energy_and_gradient(body, name):
    eager, compiled = twins(body, name)
    vectors = extreme(random(ROWS, 24, 3, seed=1, scale=0.5))
    variable = torch.cat([vectors.flatten(1), random(ROWS, 10, seed=2)], dim=1)
    before = variable.clone()
    compare(eager.body_energy, compiled.body, variable, body_inputs(len(keypoint_set(name).joints)))
    assert torch.equal(variable, before)


def test_camera_energy_and_gradient():
    eager, compiled = twins('adult', 'coco_17')
    given = body_inputs(17)
    torso = (given.confidence > 1).double()
    first = 45 + random(ROWS, seed=11)
    points, pelvis = random(ROWS, 17, 3, seed=9, scale=0.4), random(ROWS, 3, seed=10, scale=0.1)
    inputs = CameraInputs(points, pelvis, given.pixels, torso, first, cameras())
    far = first + random(ROWS, seed=12)
    far[1] = -10
    variable = torch.cat([extreme(random(ROWS, 1, 3))[:, 0], random(ROWS, 2, seed=13), far[:, None]], dim=1)
    compare(eager.camera_energy, compiled.camera, variable, inputs)


@pytest.mark.parametrize('iterations', [0, 1, 7])
def test_steps_are_adam_s(iterations):
    eager, compiled = twins('adult', 'coco_17')
    inputs, settings = body_inputs(17), AdamSettings(0.02, (0.8, 0.99))
    start = torch.cat([random(ROWS, 72, seed=1, scale=0.3), random(ROWS, 10, seed=2)], dim=1)
    expected = minimise(eager.body_energy, start, inputs, iterations, settings)
    assert torch.allclose(compiled.minimise(start, inputs, iterations, settings), expected, atol=1e-9)


def scene(smplify, near, count=6):
    generator = torch.Generator().manual_seed(2)
    truth = torch.randn(count, 82, generator=generator) * 0.3
    guess = unpack(truth + torch.randn(count, 82, generator=generator) * 0.1)
    camera = WeakPerspective(torch.full((count,), 0.9), torch.tensor([[0.02, -0.1]]).repeat(count, 1))
    pinhole = CropPinhole(torch.full((count,), 1.9), torch.tensor([[0.3, -0.2]]).repeat(count, 1)) if near else None
    pixels = project_to_crop(smplify.points(unpack(truth)), crop_translation(camera, pinhole), pinhole)
    return Prediction(guess, camera), torch.cat([pixels, torch.ones_like(pixels[..., :1])], dim=2), pinhole


@pytest.mark.parametrize('near', [False, True])
def test_whole_fits_agree_in_single_precision(near):
    config, body, prior = SmplifyConfig(backend='compiled'), load_body('adult'), mixture()
    compiled = Smplify(body, keypoint_set('spin_49'), prior, config)
    eager = Smplify(body, keypoint_set('spin_49'), prior, replace(config, backend='eager'))
    initial, keypoints, pinhole = scene(eager, near)
    found, expected = (one.fit(initial, keypoints, 4.78, pinhole) for one in (compiled, eager))
    assert (pack(found.params) - pack(expected.params)).abs().max() < 1e-4
    assert torch.allclose(found.translation, expected.translation, atol=1e-4)
    assert torch.allclose(found.score, expected.score, rtol=1e-3)
    assert found.params.betas.dtype == torch.float32


def test_auto_is_compiled_for_our_body_and_eager_for_others(monkeypatch):
    body, prior, keypoints = load_body('adult'), mixture(), keypoint_set('smpl_24')
    assert Smplify(body, keypoints, prior, SmplifyConfig())._compiled is not None
    assert Smplify(body, keypoints, prior, SmplifyConfig(backend='eager'))._compiled is None
    assert Smplify(Other(body), keypoints, prior, SmplifyConfig())._compiled is None
    with pytest.raises(ConfigError, match="'compiled' needs a BodyModel, got Other"):
        Smplify(Other(body), keypoints, prior, SmplifyConfig(backend='compiled'))
    monkeypatch.setattr(smplify_module, 'find_spec', lambda name: None if name == 'numba' else find_spec(name))
    assert Smplify(body, keypoints, prior, SmplifyConfig())._compiled is None
    with pytest.raises(ConfigError, match='needs numba, which is not installed'):
        Smplify(body, keypoints, prior, SmplifyConfig(backend='compiled'))


class Other:
    def __init__(self, body):
        self.landmark_names, self.skeleton = body.landmark_names, body.skeleton


def test_tensors_that_cannot_be_compiled_are_refused():
    smplify = Smplify(load_body('adult'), keypoint_set('smpl_24'), mixture(), SmplifyConfig(backend='compiled'))
    inputs = body_inputs(24).map(lambda tensor: tensor.half())
    with pytest.raises(ConfigError, match=r'takes float32 and float64 on the CPU, got torch\.float16'):
        smplify._minimise(smplify.body_energy, torch.zeros(ROWS, 82).half(), inputs, 1)
