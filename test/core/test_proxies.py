"""Joint proxies by hand and on a rendered body; centring that a wrong hip cannot poison."""

import numpy as np
import pytest
import torch

from hwhup_core.body.joints import LSP_14, SMPL_24
from hwhup_core.body.model import load_body
from hwhup_core.errors import ConfigError
from hwhup_core.geometry.cameras import project
from hwhup_core.geometry.proxies import (
    RELEASED_CODE,
    Joints2D,
    ProxyConfig,
    centring_offset,
    joint_proxies,
    with_head_and_pelvis,
)
from hwhup_core.render.depth import render_depth
from hwhup_core.types import BodyParams, Intrinsics

CAMERA = Intrinsics(100.0, 100.0, 5.0, 4.0, 10, 8)
ROOM = Intrinsics(400.0, 400.0, 212.0, 256.0, 424, 512)
NAMES = ('left_hip', 'right_hip', 'left_shoulder', 'right_shoulder', 'left_knee')


def joints2d(pixels, visible=None):
    """Return nameless joints."""
    pixels = np.array(pixels, np.float64)
    return Joints2D(
        tuple(str(i) for i in range(len(pixels))), pixels, np.ones(len(pixels), bool) if visible is None else visible
    )


def centred(centring, difference, visibility):
    """Return the difference of named joints after centring."""
    return difference - centring_offset(centring, difference, visibility, NAMES)[:, None]


def test_a_proxy_is_the_point_of_its_nearest_pixel():
    depth = np.full((8, 10), 2.0)
    depth[3, 6] = 1.0
    proxies = joint_proxies(depth, joints2d([[6.9, 3.1], [5.0, 4.0]]), CAMERA, ProxyConfig())
    np.testing.assert_allclose(proxies.points, [[0.019, -0.009, 1.0], [0, 0, 2.0]], atol=1e-12)
    assert proxies.visible.all()


def test_flesh_moves_a_proxy_along_its_ray_into_the_joint():
    depth = np.full((8, 10), 2.0)
    depth[0, 0] = 0
    pixels = np.array([[5.0, 4.0], [9.5, 4.0], [0.5, 0.5]])
    joints = Joints2D(('right_hip', 'left_knee', 'left_hip'), pixels, np.ones(3, bool))
    skin = joint_proxies(depth, joints, CAMERA, ProxyConfig()).points
    inside = joint_proxies(depth, joints, CAMERA, ProxyConfig(flesh=0.5)).points
    np.testing.assert_allclose(inside[0], [0, 0, 2.05])
    # Along the ray, not along z; a hole stays at the origin.
    np.testing.assert_allclose(np.linalg.norm(inside[1] - skin[1]), 0.061 / 2)
    np.testing.assert_allclose(np.cross(inside[1], skin[1]), 0, atol=1e-12)
    np.testing.assert_array_equal(inside[2], 0)


def test_the_gate_hides_occluded_hole_outside_far_and_unknown():
    depth = np.full((8, 10), 2.0)
    depth[0, 0], depth[0, 1] = 0, 2.5
    pixels = [[5, 5], [6, 5], [0.5, 0.5], [1.5, 0.5], [-0.01, 3], [10.0, 3], [np.nan, 2]]
    visible = np.array([True, False, True, True, True, True, True])
    proxies = joint_proxies(depth, joints2d(pixels, visible), CAMERA, ProxyConfig())
    np.testing.assert_array_equal(proxies.visible, [True] + 6 * [False])
    assert proxies.points[1, 2] == 2.0
    np.testing.assert_array_equal(proxies.points[[2, 4, 5, 6]], 0)
    released = joint_proxies(depth, joints2d(pixels, visible), CAMERA, RELEASED_CODE)
    np.testing.assert_array_equal(released.visible, [True, False, True] + 4 * [False])


def test_depth_of_holes_shows_no_joint():
    proxies = joint_proxies(np.zeros((8, 10)), joints2d([[5, 5], [2, 2]]), CAMERA, ProxyConfig())
    assert not proxies.visible.any()
    np.testing.assert_array_equal(proxies.points, 0)


def test_distortion_is_removed():
    camera = Intrinsics(400.0, 400.0, 320.0, 240.0, 640, 480, 'plumb_bob', (0.1, -0.05, 0.001, 0.002, 0.0))
    points = np.array([[0.5, 0.3, 1.5], [-0.4, 0.2, 1.5]])
    proxies = joint_proxies(np.full((480, 640), 1.5), joints2d(project(points, camera)), camera, ProxyConfig())
    np.testing.assert_allclose(proxies.points, points, atol=1e-6)


def test_head_and_pelvis():
    pixels = np.arange(28.0).reshape(14, 2)
    visible = np.ones(14, bool)
    visible[LSP_14.index('thorax')] = visible[LSP_14.index('left_hip')] = False
    more = with_head_and_pelvis(Joints2D(LSP_14, pixels, visible), 0.8)
    assert more.names[-2:] == ('head', 'pelvis')
    np.testing.assert_allclose(more.pixels[14:], [[25.6, 26.6], [5.0, 6.0]])
    np.testing.assert_array_equal(more.visible[14:], [True, False])
    with pytest.raises(ConfigError, match='head_top'):
        with_head_and_pelvis(Joints2D((*SMPL_24, 'thorax'), np.zeros((25, 2)), np.ones(25, bool)), 0.8)


@pytest.mark.parametrize('centring', ['visible_mean', 'torso_median', 'hip_mean'])
def test_centring_removes_any_translation(centring):
    difference = torch.tensor([0.3, -2.0, 50.0], dtype=torch.float64).expand(2, 5, 3)
    torch.testing.assert_close(
        centred(centring, difference, torch.ones(2, 5, dtype=torch.float64)), torch.zeros_like(difference)
    )


def test_an_occluded_hip_poisons_only_the_hip_mean():
    difference = torch.zeros(1, 5, 3)
    difference[0, 0, 2] = 0.4
    visibility = torch.tensor([[0.0, 1, 1, 1, 1]])
    assert centred('visible_mean', difference, visibility)[0, 1:].abs().max() == 0
    assert centred('torso_median', difference, visibility)[0, 1:].abs().max() == 0
    torch.testing.assert_close(centred('hip_mean', difference, visibility)[0, 1:, 2], torch.full((4,), -0.2))


def test_a_wrong_hip_that_counts_as_seen_does_not_move_the_torso_median():
    difference = torch.zeros(1, 5, 3)
    difference[0, 0, 2] = 0.4
    assert centred('torso_median', difference, torch.ones(1, 5))[0, 1:].abs().max() == 0
    assert centred('visible_mean', difference, torch.ones(1, 5))[0, 1:].abs().max() > 0.05


def test_the_visible_mean_has_the_smallest_weighted_error():
    generator = torch.Generator().manual_seed(0)
    difference = torch.randn(3, 5, 3, generator=generator, dtype=torch.float64)
    visibility = torch.rand(3, 5, generator=generator, dtype=torch.float64)
    best = (visibility[..., None] * centred('visible_mean', difference, visibility).square()).sum()
    for shift in torch.randn(10, 3, generator=generator, dtype=torch.float64) * 0.1:
        moved = centred('visible_mean', difference, visibility) + shift
        assert (visibility[..., None] * moved.square()).sum() > best


def test_centring_without_a_visible_joint_is_finite_and_so_is_its_gradient():
    for centring in ('visible_mean', 'torso_median', 'hip_mean'):
        difference = torch.randn(2, 5, 3, requires_grad=True)
        offset = centring_offset(centring, difference, torch.zeros(2, 5), NAMES)
        offset.sum().backward()
        assert offset.isfinite().all()
        assert difference.grad.isfinite().all()
    only_knee = torch.tensor([[0.0, 0, 0, 0, 1]])
    torch.testing.assert_close(centring_offset('torso_median', difference[:1], only_knee, NAMES), difference[:1, 4])


def test_centring_needs_its_joints():
    for centring, message in (('torso_median', 'torso'), ('hip_mean', 'left_hip')):
        with pytest.raises(ConfigError, match=message):
            centring_offset(centring, torch.zeros(1, 1, 3), torch.ones(1, 1), ('left_knee',))


def test_proxies_of_a_body_lie_on_its_skin():
    """The bias: the joint is 2 to 15 cm behind its proxy, exactly along the ray; what is shared goes with the root."""
    body, facing_camera = load_body('adult'), torch.diag(torch.tensor([1.0, -1, -1]))
    posed = body(BodyParams(facing_camera[None], torch.eye(3).expand(1, 23, 3, 3), torch.zeros(1, 10)))
    away = torch.tensor([0.0, 0, 2.2])
    cameras = torch.tensor([[ROOM.fx, ROOM.fy, ROOM.cx, ROOM.cy]])
    rendered = render_depth(posed.vertices + away, body.faces, cameras, (512, 424))
    # Hands, feet and spine have joints that an annotator does not click.
    kept = [i for i, name in enumerate(SMPL_24) if not any(part in name for part in ('hand', 'foot', 'spine'))]
    joints = (posed.joints[0] + away).detach().numpy().astype(np.float64)[kept]
    proxies = joint_proxies(rendered.depth[0].detach().numpy(), joints2d(project(joints, ROOM)), ROOM, ProxyConfig())
    assert proxies.visible.all()
    behind = joints[:, 2] - proxies.points[:, 2]
    assert 0.01 < behind.min() < behind.max() < 0.16
    np.testing.assert_allclose(proxies.points[:, :2] / proxies.points[:, 2:], joints[:, :2] / joints[:, 2:], atol=1e-9)
    names = tuple(SMPL_24[i] for i in kept)
    difference = torch.from_numpy(joints - proxies.points)[None]
    visibility = torch.ones(1, len(kept), dtype=torch.float64)
    error = {
        kind: (difference - centring_offset(kind, difference, visibility, names)[:, None]).norm(dim=-1).mean()
        for kind in ('visible_mean', 'torso_median', 'hip_mean')
    }
    assert error['visible_mean'] < 0.6 * behind.mean()
    assert error['visible_mean'] < error['hip_mean']
