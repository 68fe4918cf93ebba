"""The equations by hand, their gradients in double, and what must not send or receive any."""

from dataclasses import replace

import pytest
import torch
from torch.autograd import gradcheck

from hwhup_core.body.model import load_body
from hwhup_core.errors import ConfigError
from hwhup_core.geometry.rotations import axis_angle_to_matrix
from hwhup_core.training import weak_losses as weak
from hwhup_core.training.losses import scale_loss
from hwhup_core.training.weak_losses import DepthTermConfig, WeakTerms, WeakWeights
from hwhup_core.types import BodyParams, CropPinhole, Observation, WeakPerspective

NAMES = ('left_hip', 'right_hip', 'left_shoulder', 'right_shoulder', 'left_knee')
EVERY = [
    DepthTermConfig(offset=offset, penalty=penalty, pooling=pooling)
    for offset in ('median', 'mean')
    for penalty in ('l2', 'geman_mcclure')
    for pooling in ('pixels', 'images')
]
SIZE = 12
FACES = torch.tensor([[0, 1, 2], [0, 2, 3], [4, 5, 6]])


def random(*shape, seed=0):
    """Return double numbers that want a gradient."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def params(batch=2, seed=0):
    """Return numbers in the shape of parameters; no rotation is needed."""
    return BodyParams(
        random(batch, 3, 3, seed=seed), random(batch, 23, 3, 3, seed=seed + 1), random(batch, 10, seed=seed + 2)
    )


def mesh():
    """Return two bent sheets, in part over each other; no corner and no edge at a pixel's centre."""
    sheet = torch.tensor([[-0.61, -0.53, 0.10], [0.63, -0.51, -0.05], [0.59, 0.57, 0.12], [-0.57, 0.61, -0.02]])
    flap = torch.tensor([[-0.33, -0.31, -0.35], [0.37, -0.29, -0.25], [0.07, 0.41, -0.31]])
    one = torch.cat([sheet, flap]).double()
    return torch.stack([one, one * 0.93 + 0.017]).requires_grad_()


def camera(scale=0.9):
    """Return a camera that wants a gradient."""
    return WeakPerspective(
        torch.full((2,), scale, dtype=torch.float64, requires_grad=True),
        torch.tensor([[0.01, -0.02], [0.03, 0.013]], dtype=torch.float64, requires_grad=True),
    )


def near_pinhole():
    """Return a true camera about 2.5 m away whose axis misses the crop's middle, and that wants a gradient."""
    return CropPinhole(
        torch.tensor([2.3, 2.1], dtype=torch.float64, requires_grad=True),
        torch.tensor([[0.4, -0.3], [-1.2, 0.7]], dtype=torch.float64, requires_grad=True),
    )


def observed_depth():
    """Return a rough surface 2 m away with holes, and a mask of most of it."""
    generator = torch.Generator().manual_seed(5)
    depth = 2 + 0.2 * torch.rand(2, SIZE, SIZE, dtype=torch.float64, generator=generator)
    depth[torch.rand(2, SIZE, SIZE, generator=generator) < 0.1] = 0
    return depth, torch.rand(2, SIZE, SIZE, generator=generator) < 0.8


def depth_loss(vertices, config, seen=None, mask=None, view=None, pinhole=None):
    """Return LD of the test's scene."""
    depth, default_mask = observed_depth()
    return weak.depth_term(
        vertices, FACES, view or camera(), depth if seen is None else seen,
        default_mask if mask is None else mask, config, 'torch', pinhole,
    )  # fmt: skip


def test_keypoints_by_hand():
    predicted, observed = torch.zeros(2, 2, 2), torch.tensor([[[0.5, 0.0], [9, 9]], [[0, 0.2], [0, 0]]])
    confidence = torch.tensor([[1.0, 0.0], [0.5, 1.0]])
    groups = weak.keypoint_group_weights(('gt_neck', 'op_nose'), openpose=0.0, ground_truth=2.0)
    assert groups.tolist() == [2.0, 0.0]
    value = weak.keypoint_term(predicted, observed, confidence, groups)
    assert value.item() == pytest.approx((2 * 0.25 + 2 * 0.5 * 0.04) / 8)


def test_smpl_terms_count_valid_samples_only():
    predicted = params().detach()
    fitted = BodyParams(predicted.global_rotation + 1, predicted.joint_rotations, predicted.betas + 2)
    broken = fitted.map(lambda tensor: torch.cat([tensor[:1], tensor[1:] * torch.nan]))
    first = torch.tensor([True, False])
    assert weak.pose_term(predicted, broken, first).item() == pytest.approx(9 / 216)
    assert weak.beta_term(predicted.betas, broken.betas, first).item() == pytest.approx(4.0)
    assert weak.beta_term(predicted.betas, fitted.betas, torch.tensor([True, True])).item() == pytest.approx(4.0)


def test_camera_by_hand():
    view = camera().detach()
    first, off = torch.tensor([True, False]), torch.tensor([0.3, 0.0, -0.6])
    assert weak.camera_term(view, weak.crop_translation(view) + off, first).item() == pytest.approx(0.3)
    # t = (0.01 - 0.4 / 0.9, -0.02 + 0.3 / 0.9, 2.3 / 0.9): shift less center over scale, focal over scale.
    placed = torch.tensor([[0.01 - 4 / 9, -0.02 + 3 / 9, 23 / 9], [0, 0, 0]], dtype=torch.float64)
    assert weak.camera_term(view, placed, first, near_pinhole()).item() == pytest.approx(0, abs=1e-6)
    assert weak.camera_term(view, placed + off, first, near_pinhole()).item() == pytest.approx(0.3, abs=1e-6)


def test_proxies_by_hand():
    predicted, proxies = torch.zeros(3, 5, 3), torch.full((3, 5, 3), 7.0)
    proxies[0, 4, 2] += 0.5
    visibility, has_depth = torch.ones(3, 5), torch.tensor([True, True, False])
    visibility[0, 1] = 0
    # Mean of (0, 0, 0, 0.5) is 0.125; the squares are 3 x 0.125^2 + 0.375^2; two of three samples have depth.
    expected = (3 * 0.125**2 + 0.375**2) / (2 * 5 * 3)
    value = weak.proxy_term(predicted, proxies, visibility, has_depth, NAMES, 'visible_mean')
    assert value.item() == pytest.approx(expected, rel=1e-5)
    value = weak.proxy_term(predicted, proxies, visibility, has_depth, NAMES, 'hip_mean')
    assert value.item() == pytest.approx(0.25 / 30, rel=1e-5)
    assert weak.measured(torch.tensor([[[0.0, 0, 0], [0, 0, 2]]])).tolist() == [[0, 1]]


def test_aligned_term_by_hand():
    rendered, observed = torch.full((2, 1, 3), 50.0), torch.full((2, 1, 3), 2.0)
    observed[0, 0] += torch.tensor([0.0, 0.1, 5.0])
    observed[1, 0] += torch.tensor([0.3, 9.0, 9.0])
    valid = torch.tensor([[[True, True, False]], [[True, False, False]]])
    offset = torch.full((2,), -48.0)
    for config, expected in (
        (DepthTermConfig(), 0.1 / 3),
        (DepthTermConfig(pooling='images'), (0.005 + 0.09) / 2),
        (DepthTermConfig(penalty='geman_mcclure', sigma=0.1), (0.005 + 0.009) / 3),
    ):
        value = weak.aligned_term(rendered, observed, offset, valid, config)
        assert value.item() == pytest.approx(expected, rel=1e-3)


def test_the_total_has_the_published_weights():
    terms = WeakTerms(*(torch.tensor(10.0**power) for power in range(7)))
    expected = 60 * (5 * 1 + 0.1 * 10 + 0.001 * 100 + 1e3 + 1e4 + 0 * 1e5 + 1e6)
    assert weak.weak_total(terms, WeakWeights()).item() == pytest.approx(expected)


def test_gradients_of_every_plain_term():
    valid, confidence = torch.tensor([True, False]), torch.tensor([[0.3, 0.0, 1.0], [1.0, 0.5, 0.0]]).double()
    groups = torch.tensor([1.0, 2.0, 3.0]).double()
    assert gradcheck(lambda p: weak.keypoint_term(p, random(2, 3, 2, seed=9), confidence, groups), random(2, 3, 2))
    fitted, one = params(seed=7), params()
    assert gradcheck(
        lambda *tensors: weak.pose_term(BodyParams(*tensors), fitted, valid),
        (one.global_rotation, one.joint_rotations, one.betas),
    )
    assert gradcheck(lambda betas: weak.beta_term(betas, fitted.betas, valid), one.betas)
    view = camera()
    assert gradcheck(
        lambda scale, shift: weak.camera_term(WeakPerspective(scale, shift), random(2, 3), valid),
        (view.scale, view.shift),
    )
    assert gradcheck(
        lambda scale, shift: weak.camera_term(WeakPerspective(scale, shift), random(2, 3), valid, near_pinhole()),
        (view.scale, view.shift),
    )
    assert gradcheck(scale_loss, random(4))
    assert gradcheck(lambda residual: weak.geman_mcclure(residual, 0.3), random(6))
    assert gradcheck(
        lambda *values: weak.weak_total(WeakTerms(*values), WeakWeights()), tuple(random(7, seed=3).unbind())
    )


@pytest.mark.parametrize('centring', ['visible_mean', 'torso_median', 'hip_mean'])
def test_gradient_of_the_proxy_term(centring):
    visibility = torch.tensor([[1.0, 0.0, 1.0, 0.5, 1.0], [0.0, 0.0, 0.0, 0.0, 1.0]]).double()
    proxies, has_depth = random(2, 5, 3, seed=4), torch.tensor([True, True])
    assert gradcheck(
        lambda joints: weak.proxy_term(joints, proxies, visibility, has_depth, NAMES, centring), random(2, 5, 3)
    )


@pytest.mark.parametrize('pinhole', [None, near_pinhole()], ids=['far', 'near'])
@pytest.mark.parametrize('pooling', ['pixels', 'images'])
def test_rendered_depth_against_finite_differences(pooling, pinhole):
    """The mean makes the squared error smallest, so that its own change adds nothing: LD as a whole is checked."""
    config = DepthTermConfig(offset='mean', pooling=pooling)
    assert depth_loss(mesh(), config, pinhole=pinhole) > 1e-3
    assert gradcheck(lambda vertices: depth_loss(vertices, config, pinhole=pinhole), mesh(), eps=1e-6, atol=1e-7)


def test_a_wall_before_the_true_camera_lands_where_it_must():
    """A wall 3 m before a camera of focal 2: pixel x shows X = (x - center) Z / focal, whatever the crop's size."""
    pinhole = CropPinhole(torch.tensor([2.0]), torch.tensor([[0.25, -0.5]]))
    view = WeakPerspective(torch.tensor([2 / 3]), torch.tensor([[0.1, 0.2]]))
    # Left and right edge at X = 0.15 and 1.05 of the wall's frame, seen at u = (X + 0.1) 2 / 3 before any depth.
    wall = torch.tensor([[[0.05, -2, 0], [0.95, -2, 0], [0.95, 2, 0], [0.05, 2, 0]]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    for size in (20, 40):
        rendered = weak.render_in_crop(wall, faces, view, size, 'torch', pinhole)
        columns = (torch.arange(size) + 0.5) / size * 2 - 1
        expected = (columns > 0.15 * 2 / 3) & (columns < 1.05 * 2 / 3)
        assert torch.equal(rendered.mask[0, size // 2], expected)
        torch.testing.assert_close(rendered.depth[rendered.mask], torch.full((int(rendered.mask.sum()),), 3.0))


def test_without_a_pinhole_the_camera_is_spins():
    far = CropPinhole(torch.full((2,), 5000 / 112, dtype=torch.float64), torch.zeros(2, 2, dtype=torch.float64))
    mine, default = (weak.render_in_crop(mesh(), FACES, camera(), SIZE, 'torch', choice) for choice in (far, None))
    assert torch.equal(mine.depth, default.depth)
    near = weak.render_in_crop(mesh(), FACES, camera(), SIZE, 'torch', near_pinhole())
    assert default.depth.max() > 49
    assert near.depth.max() < 3


@pytest.mark.parametrize('config', EVERY, ids=str)
def test_gradient_with_offset_and_mask_held(config):
    depth, mask = observed_depth()
    vertices = mesh()

    def held(points):
        rendered = weak.render_in_crop(points, FACES, camera(), SIZE, 'torch')
        return weak.aligned_term(rendered.depth, depth, offset, valid, config)

    with torch.no_grad():
        rendered = weak.render_in_crop(vertices, FACES, camera(), SIZE, 'torch')
        valid = rendered.mask & mask & (depth > 0)
        find = weak.depth_offset_median if config.offset == 'median' else weak.depth_offset_mean
        offset = find(depth, rendered.depth, valid)
    assert valid.sum() > 30
    assert gradcheck(held, vertices, eps=1e-6, atol=1e-7)
    (whole,) = torch.autograd.grad(depth_loss(vertices, config), vertices)
    (part,) = torch.autograd.grad(held(vertices), vertices)
    torch.testing.assert_close(whole, part)
    assert whole.abs().max() > 1e-4


@pytest.mark.parametrize('pinhole', [None, near_pinhole()], ids=['far', 'near'])
@pytest.mark.parametrize('config', EVERY, ids=str)
def test_a_constant_on_the_observed_depth_changes_nothing(config, pinhole):
    vertices, (depth, _) = mesh(), observed_depth()
    shifted = torch.where(depth > 0, depth + 0.7, 0)
    values = [depth_loss(vertices, config, seen, pinhole=pinhole) for seen in (depth, shifted)]
    gradients = [torch.autograd.grad(value, vertices)[0] for value in values]
    torch.testing.assert_close(values[0], values[1], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-8, atol=1e-11)


def test_rendered_depth_pulls_a_body_onto_the_depth_it_left():
    """The sanity check of method 10: only pose moves, the camera stays, and the joints come nearer with the surface."""
    body, generator = load_body('adult'), torch.Generator().manual_seed(0)
    facing = torch.diag(torch.tensor([1.0, -1, -1])).expand(2, 3, 3)
    view = WeakPerspective(torch.full((2,), 0.9), torch.zeros(2, 2))

    def posed(vectors):
        turns = axis_angle_to_matrix(vectors)
        return body(BodyParams(facing @ turns[:, 0], turns[:, 1:], torch.zeros(2, 10)))

    true = 0.15 * torch.randn(2, 24, 3, generator=generator)
    with torch.no_grad():
        rendered = weak.render_in_crop(posed(true).vertices, body.faces, view, 64, 'auto')
        seen, joints = torch.where(rendered.mask, rendered.depth - 48, 0), posed(true).joints
    vectors = (true + 0.1 * torch.randn(2, 24, 3, generator=generator)).requires_grad_()
    optimizer, errors = torch.optim.Adam([vectors], lr=0.01), []
    for _ in range(21):
        bodies = posed(vectors)
        loss = weak.depth_term(bodies.vertices, body.faces, view, seen, rendered.mask, DepthTermConfig())
        errors.append((loss.item(), (bodies.joints - joints).norm(dim=-1).mean().item()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert errors[-1][0] < 0.3 * errors[0][0]
    assert errors[-1][1] < 0.8 * errors[0][1]


@pytest.mark.parametrize('pinhole', [None, near_pinhole()], ids=['far', 'near'])
@pytest.mark.parametrize('offset', ['median', 'mean'])
def test_depth_sends_no_gradient_but_to_the_vertices(offset, pinhole):
    vertices, view, (depth, mask) = mesh(), camera(), observed_depth()
    depth.requires_grad_()
    config = DepthTermConfig(offset=offset)
    weak.depth_term(vertices, FACES, view, depth, mask, config, 'torch', pinhole).backward()
    assert vertices.grad.abs().max() > 0
    assert view.scale.grad is None
    assert view.shift.grad is None
    assert depth.grad is None
    if pinhole is not None:
        assert pinhole.focal.grad is None
        assert pinhole.center.grad is None


def test_the_camera_term_leaves_the_pinhole_alone():
    view, pinhole = camera(), near_pinhole()
    weak.camera_term(view, random(2, 3), torch.tensor([True, True]), pinhole).backward()
    assert view.scale.grad.abs().max() > 0
    assert pinhole.focal.grad is None
    assert pinhole.center.grad is None


def test_geman_mcclure_gives_outliers_up():
    vertices, (depth, mask) = mesh(), observed_depth()
    wrong = depth.clone()
    wrong[:, 5, 5] = 4.0
    change = {}
    for penalty in ('geman_mcclure', 'l2'):
        config = DepthTermConfig(penalty=penalty, sigma=0.1)
        change[penalty] = depth_loss(vertices, config, wrong, mask) - depth_loss(vertices, config, depth, mask)
    assert 0 < change['geman_mcclure'] < 0.01 * change['l2']


def test_holes_count_only_as_in_the_released_code():
    vertices, (depth, _) = mesh(), observed_depth()
    everything = torch.ones_like(depth, dtype=torch.bool)
    filled = torch.where(depth > 0, depth, 9.0)
    ours = DepthTermConfig()
    released = replace(ours, drop_holes=False, offset='mean')
    clean = depth_loss(vertices, ours, depth, everything)
    torch.testing.assert_close(clean, depth_loss(vertices, ours, filled, everything & (depth > 0)))
    assert depth_loss(vertices, released, depth, everything) > 10 * clean


@pytest.mark.parametrize('config', EVERY, ids=str)
@pytest.mark.parametrize('case', ['no_mask', 'holes', 'behind', 'far', 'broken_camera'])
def test_nothing_to_compare_is_zero_with_gradient_zero(case, config):
    vertices, (depth, mask) = mesh(), observed_depth()
    view = camera({'behind': -0.9, 'far': 1e-12, 'broken_camera': float('nan')}.get(case, 0.9))
    mask = torch.zeros_like(mask) if case == 'no_mask' else mask
    depth = torch.zeros_like(depth) if case == 'holes' else depth
    value = depth_loss(vertices, config, depth, mask, view)
    value.backward()
    assert value.item() == 0
    assert vertices.grad.abs().max() == 0


def test_one_empty_image_leaves_the_other_alone():
    vertices, (depth, mask) = mesh(), observed_depth()
    empty = mask.clone()
    empty[1] = False
    for pooling in ('pixels', 'images'):
        config = DepthTermConfig(pooling=pooling)
        alone = weak.depth_term(
            vertices[:1], FACES, camera()[:1], depth[:1], mask[:1], config, 'torch'
        )  # fmt: skip
        torch.testing.assert_close(depth_loss(vertices, config, depth, empty), alone)


def test_no_joint_no_fit_no_depth_is_zero_with_gradient_zero():
    none, joints, points = torch.tensor([False, False]), random(2, 5, 3), random(2, 5, 2)
    one, nan = params(), float('nan')
    values = [
        weak.keypoint_term(points, points.detach() * nan, torch.zeros(2, 5).double(), torch.ones(5).double()),
        weak.pose_term(one, one.detach().map(lambda tensor: tensor * nan), none),
        weak.beta_term(one.betas, one.betas.detach() * nan, none),
        weak.camera_term(camera(), random(2, 3).detach() * nan, none),
        weak.proxy_term(joints, torch.zeros(2, 5, 3).double(), torch.zeros(2, 5).double(), ~none, NAMES, 'hip_mean'),
        weak.proxy_term(joints, joints.detach() + 1, torch.ones(2, 5).double(), none, NAMES, 'visible_mean'),
    ]
    assert [value.item() for value in values] == [0.0] * 6
    sum(values).backward()
    for tensor in (joints, points, one.global_rotation, one.joint_rotations, one.betas):
        assert tensor.grad.abs().max() == 0


def test_inputs_are_left_as_they_are():
    vertices, (depth, mask) = mesh().detach(), observed_depth()
    before = [tensor.clone() for tensor in (vertices, depth, mask)]
    depth_loss(vertices, DepthTermConfig(), depth, mask)
    for tensor, old in zip((vertices, depth, mask), before):
        assert torch.equal(tensor, old)
    predicted, observed, confidence = random(2, 3, 2).detach(), random(2, 3, 2, seed=1).detach(), torch.zeros(2, 3)
    copies = predicted.clone(), observed.clone()
    weak.keypoint_term(predicted, observed, confidence, torch.ones(3))
    assert torch.equal(predicted, copies[0])
    assert torch.equal(observed, copies[1])


def test_single_and_numba_agree_with_double_and_torch():
    vertices, (depth, mask) = mesh(), observed_depth()
    single = vertices.detach().float().requires_grad_()
    view = camera().map(lambda tensor: tensor.detach().float())
    config = DepthTermConfig()
    value = weak.depth_term(single, FACES, view, depth.float(), mask, config)
    expected = depth_loss(vertices, config, depth, mask)
    torch.testing.assert_close(value, expected.float(), rtol=1e-3, atol=1e-6)
    value.backward()
    expected.backward()
    torch.testing.assert_close(single.grad, vertices.grad.float(), rtol=1e-2, atol=1e-5)


def test_a_sigma_of_zero_is_refused():
    with pytest.raises(ConfigError, match='sigma'):
        DepthTermConfig(sigma=0.0)


def test_an_observation_keeps_what_it_lacks():
    both = Observation(torch.zeros(2, 5, 2), torch.ones(2, 5), torch.ones(2, 5), proxies=torch.ones(2, 5, 3))
    second = both.detach()[1:]
    assert second.depth is None
    assert second.mask is None
    assert second.proxies.shape == (1, 5, 3)
