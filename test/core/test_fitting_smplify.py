"""The fit: recovers known bodies, equals plain loops and smplx's full mesh, leaves its arguments alone, never NaN."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from hwhup_core.body.export import to_smplx_struct
from hwhup_core.body.files import read_body_file
from hwhup_core.body.joints import COCO_17, index
from hwhup_core.body.keypoint_sets import keypoint_set, point_map
from hwhup_core.body.model import ASSETS, load_body
from hwhup_core.body.priors import Mixture, MixturePrior
from hwhup_core.errors import ConfigError
from hwhup_core.fitting.config import PRESETS, EnergyWeights, SmplifyConfig
from hwhup_core.fitting.energies import project_to_crop
from hwhup_core.fitting.inputs import BodyInputs, CameraInputs
from hwhup_core.fitting.minimise import AdamSettings, CapturedMinimiser, minimise
from hwhup_core.fitting.naive import naive_fit
from hwhup_core.fitting.smplify import Fit, Smplify, fit, pack, unpack
from hwhup_core.geometry.cameras import HALF_CROPS_FOCAL, crop_translation, spin_pinhole
from hwhup_core.geometry.rotations import axis_angle_to_matrix
from hwhup_core.types import BodyParams, CropPinhole, Prediction, WeakPerspective

SHORT = SmplifyConfig(camera_iterations=6, body_iterations=8)


@pytest.fixture(scope='module')
def body():
    return load_body('adult')


@pytest.fixture(scope='module')
def prior():
    rng = np.random.default_rng(0)
    covariances = np.stack([np.diag(rng.uniform(0.05, 0.3, 69)) for _ in range(8)])
    return MixturePrior(Mixture(rng.normal(size=(8, 69)) * 0.15, covariances, np.full(8, 1 / 8)))


def crop_camera(count):
    return WeakPerspective(torch.full((count,), 0.9), torch.tensor([[0.02, -0.1]]).repeat(count, 1))


def scene(body, name='smpl_24', count=4, spread=0.12, dtype=torch.float32):
    """Return key points of known bodies and a first guess beside them."""
    generator = torch.Generator().manual_seed(1)
    truth = torch.randn(count, 82, generator=generator) * 0.25
    guess = unpack(truth + torch.randn(count, 82, generator=generator) * spread)
    shown = points_of(body, name, unpack(truth))
    pixels = project_to_crop(shown, crop_translation(crop_camera(count)))
    keypoints = torch.cat([pixels, torch.ones_like(pixels[..., :1])], dim=2)
    return keypoints.to(dtype), Prediction(guess, crop_camera(count)).map(lambda tensor: tensor.to(dtype))


def points_of(body, name, params):
    skeleton = body.skeleton(params)
    return point_map(keypoint_set(name), body.landmark_names).mix @ torch.cat(
        [skeleton.joints, skeleton.landmarks], dim=1
    )


def pixel_errors(body, name, found, keypoints):
    projected = project_to_crop(points_of(body, name, found.params), found.translation)
    return (projected - keypoints[..., :2]).norm(dim=2)


def largest_turn(one: BodyParams, other: BodyParams):
    """Return the largest angle between rotations, radians."""
    return (
        max(
            float((getattr(one, name).mT @ getattr(other, name) - torch.eye(3).to(one.betas)).norm(dim=(-1, -2)).max())
            for name in ('global_rotation', 'joint_rotations')
        )
        / 2**0.5
    )


@pytest.mark.parametrize('name', ['spin_49', 'slp_14'])
def test_recovers_the_reprojection_of_known_bodies(body, prior, name):
    keypoints, initial = scene(body, name)
    before = Fit(initial.params, crop_translation(initial.camera), torch.zeros(4), torch.ones(4).bool())
    found = fit(body, initial, keypoints, keypoint_set(name), prior, PRESETS['paper'], 0.5)
    live = point_map(keypoint_set(name), body.landmark_names).fitted
    errors = pixel_errors(body, name, found, keypoints)[:, live]
    assert found.valid.all()
    assert errors.mean() < 2.5
    assert errors.mean() < 0.35 * pixel_errors(body, name, before, keypoints)[:, live].mean()


def near_cameras(count):
    """Return true cameras of crops: bodies of scale 0.9 stand some 2 m away, off the optical axis."""
    spread = torch.linspace(-1.0, 1.0, count)
    return CropPinhole(1.8 + 0.2 * spread, torch.stack([0.6 * spread, 0.3 - 0.4 * spread], dim=1))


def near_scene(body, name, count=4, spread=0.12, dtype=torch.float32):
    """Return what `scene` does, seen by near cameras, and these."""
    _, initial = scene(body, name, count, spread)
    generator = torch.Generator().manual_seed(1)
    truth = unpack(torch.randn(count, 82, generator=generator) * 0.25)
    pinhole = near_cameras(count)
    camera = replace(crop_camera(count), scale=torch.full((count,), 0.85))
    pixels = project_to_crop(points_of(body, name, truth), crop_translation(camera, pinhole), pinhole)
    keypoints = torch.cat([pixels, torch.ones_like(pixels[..., :1])], dim=2)
    return keypoints.to(dtype), *(record.map(lambda tensor: tensor.to(dtype)) for record in (initial, pinhole))


def test_recovers_bodies_before_near_cameras(body, prior):
    keypoints, initial, pinhole = near_scene(body, 'slp_14')
    smplify = Smplify(body, keypoint_set('slp_14'), prior, PRESETS['paper'])
    found = smplify.fit(initial, keypoints, 0.5, pinhole)
    projected = project_to_crop(smplify.points(found.params), found.translation, pinhole)
    errors = (projected - keypoints[..., :2]).norm(dim=2)
    assert found.valid.all()
    assert errors.mean() < 2.5
    assert torch.equal(found.score, smplify.score(found.params, found.translation, smplify.observe(keypoints), pinhole))
    assert (found.translation[:, 2] - 2.1).abs().max() < 0.4
    far = smplify.score(found.params, found.translation, smplify.observe(keypoints))
    assert (far > 100 * found.score).all()


def test_no_camera_means_spin_s(body, prior):
    keypoints, initial = scene(body, 'slp_14')
    smplify = Smplify(body, keypoint_set('slp_14'), prior, SHORT)
    without, given = (
        smplify.fit(initial, keypoints, 1.0),
        smplify.fit(initial, keypoints, 1.0, spin_pinhole(initial.camera)),
    )
    assert all(torch.equal(one, other) for one, other in zip(tensors_in(without), tensors_in(given)))


def test_the_camera_stage_moves_as_far_before_any_camera(body, prior):
    keypoints, initial = scene(body, 'slp_14')
    config = SmplifyConfig(camera_iterations=50, body_iterations=0, weights=EnergyWeights(depth=1.0))
    smplify = Smplify(body, keypoint_set('slp_14'), prior, config)
    initial = replace(initial, camera=replace(initial.camera, scale=torch.full((4,), 1.0)))
    far = smplify.fit(initial, keypoints, 1.0).translation
    # Twice as far behind twice the lens: the same picture but for perspective, which at 100 m is next to nothing.
    pinhole = CropPinhole(torch.full((4,), 2 * HALF_CROPS_FOCAL), torch.zeros(4, 2))
    double = smplify.fit(initial, keypoints, 1.0, pinhole).translation
    moved = far[:, 2] - crop_translation(initial.camera)[:, 2]
    assert (moved > 0.1).all()
    assert torch.allclose(double[:, 2] / 2 - far[:, 2] + moved, moved, rtol=0.1)
    assert torch.allclose(double[:, :2], far[:, :2], atol=0.01)


def test_a_camera_that_is_none_marks_its_sample_only(body, prior):
    keypoints, initial, pinhole = near_scene(body, 'slp_14', count=5)
    smplify = Smplify(body, keypoint_set('slp_14'), prior, SHORT)
    expected = smplify.fit(initial, keypoints, 1.0, pinhole)
    broken = pinhole.map(torch.clone)
    broken.focal[0], broken.focal[1], broken.center[2, 0] = torch.nan, 0.0, torch.inf
    found = smplify.fit(initial, keypoints, 1.0, broken)
    assert found.score.isinf().tolist() == [True] * 3 + [False] * 2
    assert all(tensor.isfinite().all() for tensor in (*tensors_in(found.params), found.translation))
    assert torch.allclose(found.score[3:], expected.score[3:], rtol=1e-4)


def test_the_prior_weight_reaches_the_optimiser(body, prior):
    keypoints, initial = scene(body)
    smplify = Smplify(body, keypoint_set('smpl_24'), prior, SHORT)
    energies = [
        prior(pack(smplify.fit(initial, keypoints, weight).params)[:, 3:72]).mean() for weight in (0.0, 4.78, 47.8)
    ]
    assert energies[0] > energies[1] > energies[2]


def test_score_is_the_mean_over_the_set(body, prior):
    keypoints, initial = scene(body)
    keypoints[:, 5:, 2] = 0
    found = fit(body, initial, keypoints, keypoint_set('smpl_24'), prior, SHORT, 4.78)
    projected = project_to_crop(points_of(body, 'smpl_24', found.params), found.translation)
    squared = (projected - keypoints[..., :2])[:, :5] ** 2
    expected = (1e4 * squared / (1e4 + squared)).sum(dim=(1, 2)) / 24
    assert torch.allclose(found.score, expected, rtol=1e-4)
    assert found.valid.tolist() == (found.score < 100).tolist()


def test_batch_equals_one_sample_at_a_time(body, prior):
    keypoints, initial = scene(body, 'coco_17')
    keypoints[2, :4, 2] = 0
    smplify = Smplify(body, keypoint_set('coco_17'), prior, SHORT)
    together = smplify.fit(initial, keypoints, 4.78)
    for sample in (0, 2):
        one = [sample]
        alone = smplify.fit(initial[one], keypoints[one], 4.78)
        assert largest_turn(alone.params, together.params[one]) < 1e-4
        assert torch.allclose(alone.translation, together.translation[one], atol=1e-4)
        assert torch.allclose(alone.score, together.score[one], rtol=1e-3)


def naive_twin(smplify, points, initial, keypoints, prior, config, pinhole=None):
    found, translation = naive_fit(
        points,
        pack(initial.params),
        crop_translation(initial.camera, pinhole),
        smplify.observe(keypoints),
        prior,
        config,
        4.78,
        pinhole,
    )
    return unpack(found), translation


@pytest.mark.parametrize('near', [False, True])
@pytest.mark.parametrize('preset', ['paper', 'released_code'])
def test_equals_the_plain_loop_in_double(body, prior, preset, near):
    body, prior = load_body('adult').double(), MixturePrior(Mixture(*mixture_of(prior))).double()
    pinhole = None
    keypoints, initial = scene(load_body('adult'), 'spin_49', count=2, dtype=torch.float64)
    if near:
        keypoints, initial, pinhole = near_scene(load_body('adult'), 'spin_49', count=2, dtype=torch.float64)
    keypoints[0, :25, 2] = 0.3
    config = replace(PRESETS[preset], camera_iterations=12, body_iterations=15)
    smplify = Smplify(body, keypoint_set('spin_49'), prior, config)
    found = smplify.fit(initial, keypoints, 4.78, pinhole)

    def points(root, pose, betas):
        rotations = axis_angle_to_matrix(pose.unflatten(1, (23, 3)))
        return smplify.points(BodyParams(axis_angle_to_matrix(root), rotations, betas))

    params, translation = naive_twin(smplify, points, initial, keypoints, prior, config, pinhole)
    # Adam divides by the size of the gradient: where that is only rounding, so is the difference.
    assert largest_turn(found.params, params) < 1e-6
    assert torch.allclose(found.translation, translation, atol=1e-6)


def mixture_of(prior):
    """Return a mixture as wide as the prior's, since a prior keeps no covariances."""
    rng = np.random.default_rng(3)
    return rng.normal(size=(2, 69)) * 0.1, np.stack([0.1 * np.eye(69)] * 2), np.full(2, 0.5)


def test_equals_the_same_fit_through_the_full_mesh_of_smplx(body, prior):
    smplx = pytest.importorskip('smplx')
    struct = smplx.utils.Struct(**to_smplx_struct(read_body_file(ASSETS / 'adult.npz')))
    count = 3
    reference = smplx.SMPL('', data_struct=struct, batch_size=count)
    keypoints, initial = scene(body, 'spin_49', count=count)
    # smplx appends the same 21 surface points to the 24 joints; with these alone our own fit has to use the same.
    ours = SurfaceOnly(body)
    smplify = Smplify(ours, keypoint_set('spin_49'), prior, SHORT)
    mix = point_map(keypoint_set('spin_49'), ours.landmark_names).mix

    def points(root, pose, betas):
        return mix @ reference(global_orient=root, body_pose=pose, betas=betas).joints

    found = smplify.fit(initial, keypoints, 4.78)
    params, translation = naive_twin(smplify, points, initial, keypoints, prior, SHORT)
    assert largest_turn(found.params, params) < 1e-4
    assert torch.allclose(found.params.betas, params.betas, atol=1e-4)
    assert torch.allclose(found.translation, translation, atol=1e-4)


class SurfaceOnly:
    """The body without its COCO key points."""

    def __init__(self, body):
        self.body, self.landmark_names = body, body.landmark_names[:21]

    def skeleton(self, params):
        whole = self.body.skeleton(params)
        return replace(whole, landmarks=whole.landmarks[:, :21])


def tensors_in(record):
    for field in fields(record):
        value = getattr(record, field.name)
        yield from [value] if isinstance(value, torch.Tensor) else tensors_in(value)


def test_no_argument_is_changed(body, prior):
    keypoints, initial = scene(body, 'spin_49')
    keypoints[0, 3] = torch.nan
    given = [keypoints, *tensors_in(initial)]
    copies = [tensor.clone() for tensor in given]
    fit(body, initial, keypoints, keypoint_set('spin_49'), prior, SHORT, 4.78)
    assert all(torch.equal(one.nan_to_num(-1), other.nan_to_num(-1)) for one, other in zip(given, copies))


def test_no_gradient_and_no_mode_of_the_caller_gets_in(body, prior):
    keypoints, initial = scene(body)
    smplify = Smplify(body, keypoint_set('smpl_24'), prior, SHORT)
    expected = smplify.fit(initial, keypoints, 4.78)
    traced = initial.map(lambda tensor: tensor.clone().requires_grad_())
    with torch.no_grad(), torch.autocast('cpu', dtype=torch.bfloat16):
        found = smplify.fit(traced, keypoints, 4.78)
    assert not found.params.betas.requires_grad
    assert all(torch.equal(one, other) for one, other in zip(tensors_in(found), tensors_in(expected)))


def test_samples_that_cannot_be_fitted_are_marked_and_harm_nobody(body, prior):
    keypoints, initial = scene(body, count=6)
    expected = fit(body, initial, keypoints, keypoint_set('smpl_24'), prior, SHORT, 4.78)
    keypoints[0, :, 2] = 0  # No visible joint.
    keypoints[1] = torch.nan
    betas, scale = initial.params.betas.clone(), initial.camera.scale.clone()
    betas[2], scale[3], scale[4] = torch.nan, -0.5, torch.inf
    broken = replace(initial, params=replace(initial.params, betas=betas), camera=replace(initial.camera, scale=scale))
    found = fit(body, broken, keypoints, keypoint_set('smpl_24'), prior, SHORT, 4.78)
    assert found.valid.tolist() == [False] * 5 + [True]
    assert found.score.isinf().tolist() == [True] * 5 + [False]
    assert all(tensor.isfinite().all() for tensor in (*tensors_in(found.params), found.translation))
    assert torch.equal(found.params.global_rotation[0], initial.params.global_rotation[0])
    assert torch.allclose(found.params.joint_rotations[5], expected.params.joint_rotations[5], atol=1e-5)


def test_a_hidden_joint_may_hold_anything(body, prior):
    keypoints, initial = scene(body)
    joint = index('left_wrist')
    keypoints[:, joint, 2] = 0
    expected = fit(body, initial, keypoints, keypoint_set('smpl_24'), prior, SHORT, 4.78)
    for value in (1e30, torch.inf, torch.nan):
        keypoints[:, joint, :2] = value
        found = fit(body, initial, keypoints, keypoint_set('smpl_24'), prior, SHORT, 4.78)
        assert torch.equal(found.params.joint_rotations, expected.params.joint_rotations)


def test_ignored_joints_have_no_say(body, prior):
    keypoints, initial = scene(body, 'spin_49')
    smplify = Smplify(body, keypoint_set('spin_49'), prior, replace(SHORT, camera_iterations=0))
    expected = smplify.fit(initial, keypoints, 4.78)
    keypoints[:, [1, 9, 12, 27, 28], :2] += 50
    found = smplify.fit(initial, keypoints, 4.78)
    assert torch.equal(found.score, expected.score)
    keypoints[:, 8, :2] += 50
    assert not torch.equal(smplify.fit(initial, keypoints, 4.78).score, expected.score)


def test_torso_is_taken_from_the_first_visible_slot(body, prior):
    keypoints = torch.ones(3, 49, 3)
    keypoints[1, [9, 5], 2] = 0  # OpenPose's right hip and left shoulder are hidden.
    keypoints[2, [12, 28], 2] = 0  # No left hip at all.
    paper = Smplify(body, keypoint_set('spin_49'), prior, PRESETS['paper']).observe(keypoints)
    used = [torch.nonzero(row).flatten().tolist() for row in paper.torso]
    assert used == [[2, 5, 9, 12], [2, 12, 27, 34], [2, 5, 9]]
    code = Smplify(body, keypoint_set('spin_49'), prior, PRESETS['released_code']).observe(keypoints)
    assert [torch.nonzero(row).flatten().tolist() for row in code.torso] == [[27, 28, 33, 34]] * 3


def test_wrong_set_is_refused(body, prior):
    keypoints, initial = scene(body)
    with pytest.raises(ConfigError, match='24 key points, but the set coco_17 has 17'):
        fit(body, initial, keypoints, keypoint_set('coco_17'), prior, SHORT, 4.78)
    assert len(COCO_17) == 17


def test_stage_energies_have_exact_gradients(prior):
    body = load_body('infant').double()
    prior = MixturePrior(Mixture(*mixture_of(prior))).double()
    smplify = Smplify(body, keypoint_set('coco_17'), prior, SHORT)
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    translation = torch.tensor([[0.0, 0.1, 20.0]], dtype=torch.float64)
    weight, pinhole = torch.full((1,), 2.0).double(), CropPinhole(torch.tensor([20.0]), torch.tensor([[0.3, -1.2]]))
    pinhole = pinhole.map(lambda tensor: tensor.double())
    inputs = BodyInputs(translation, 112 + 30 * random(1, 17, 2), random(1, 17).abs(), weight, pinhole)
    start = (random(1, 82) * 0.3).requires_grad_()
    assert torch.autograd.gradcheck(lambda at: smplify.body_energy(at, inputs), start, atol=1e-4)
    camera = CameraInputs(random(1, 17, 3), random(1, 3), inputs.pixels, inputs.confidence, translation[:, 2], pinhole)
    start = torch.cat([random(1, 3), translation + 0.1], dim=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda at: smplify.camera_energy(at, camera), start, atol=1e-3)


def test_pack_and_unpack():
    rows = torch.randn(5, 82, generator=torch.Generator().manual_seed(0)) * 0.4
    assert torch.allclose(pack(unpack(rows)), rows, atol=1e-6)


def quadratic(variable, inputs):
    return (variable - inputs.translation).square().sum(dim=1) * inputs.prior_weight


def target(count):
    return BodyInputs(
        torch.ones(count, 3), torch.zeros(count, 1, 2), torch.zeros(count, 1), torch.ones(count),
        CropPinhole(torch.ones(count), torch.zeros(count, 2)),
    )  # fmt: skip


def test_minimise_is_adam():
    inputs = target(2)
    start = torch.zeros(2, 3)
    after = minimise(quadratic, start, inputs, 1, AdamSettings(0.1, (0.9, 0.999)))
    assert torch.allclose(after, torch.full((2, 3), 0.1), atol=1e-6)
    assert minimise(quadratic, start, inputs, 300, AdamSettings(0.1, (0.9, 0.999))).allclose(
        torch.ones(2, 3), atol=1e-2
    )
    assert not start.any()


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason='CUDA graphs need an NVIDIA GPU')


@needs_cuda
def test_captured_minimiser_equals_the_loop_and_forgets():
    inputs = target(2).to('cuda')
    settings, start = AdamSettings(0.1, (0.9, 0.999)), torch.zeros(2, 3, device='cuda')
    captured = CapturedMinimiser(quadratic, start, inputs, settings)
    other = replace(inputs, translation=-2 * inputs.translation)
    for given in (inputs, other, inputs):
        expected = minimise(quadratic, start, given, 20, settings)
        assert torch.allclose(captured(start, given, 20), expected, atol=1e-6)


@needs_cuda
def test_fit_on_cuda_equals_the_cpu(body, prior):
    keypoints, initial = scene(body, 'spin_49')
    smplify = Smplify(
        load_body('adult').cuda(), keypoint_set('spin_49'), MixturePrior(Mixture(*mixture_of(prior))).cuda(), SHORT
    )
    twin = Smplify(body, keypoint_set('spin_49'), MixturePrior(Mixture(*mixture_of(prior))), SHORT)
    for weight in (4.78, 0.5):
        expected = twin.fit(initial, keypoints, weight)
        found = smplify.fit(initial.to('cuda'), keypoints.cuda(), weight).to('cpu')
        assert largest_turn(found.params, expected.params) < 1e-3
        assert torch.equal(found.valid, expected.valid)
