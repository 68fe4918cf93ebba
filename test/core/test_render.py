import os
import sys

import numpy as np
import pytest
import torch

from hwhup_core.errors import ConfigError, HwhupError
from hwhup_core.render import naive, numba_backend
from hwhup_core.render.depth import _check_mesh, rasterize, render_depth
from hwhup_core.render.pytorch3d_backend import normalised

SIZE = (24, 32)
CAMERA = torch.tensor([[40.0, 42.0, 16.3, 11.6]])
FAST = ('numba', 'torch')
ALL = (*FAST, 'naive')


def rays(camera, size):
    """Return x and y of the pixel rays, z = 1."""
    fx, fy, cx, cy = camera.double().unbind(-1)
    row, column = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing='ij')
    return ((column + 0.5).double() - cx) / fx, ((row + 0.5).double() - cy) / fy


def sphere(rings=24, radius=0.5, centre=(0.0, 0.0, 3.0)):
    """Return a closed sphere with outward faces and its faces; shared vertices, so cracks would show."""
    theta = torch.linspace(0, torch.pi, rings + 1, dtype=torch.float64)[1:-1]
    phi = torch.arange(2 * rings, dtype=torch.float64) * torch.pi / rings
    z = theta.cos()[:, None].expand(-1, len(phi))
    ring = torch.stack([theta.sin()[:, None] * phi.cos(), theta.sin()[:, None] * phi.sin(), z], dim=-1)
    poles = torch.tensor([[0, 0, 1.0], [0, 0, -1.0]], dtype=torch.float64)
    points = torch.cat([ring.reshape(-1, 3), poles]) * radius + torch.tensor(centre, dtype=torch.float64)
    n, faces = len(phi), []
    for k in range(n):
        k2 = (k + 1) % n
        faces += [[len(points) - 2, k, k2], [len(points) - 1, (rings - 2) * n + k2, (rings - 2) * n + k]]
        for r in range(rings - 2):
            a, b, c, d = r * n + k, r * n + k2, (r + 1) * n + k, (r + 1) * n + k2
            faces += [[a, c, b], [b, c, d]]
    return points.float(), torch.tensor(faces)


def soup(seed, count=60, batch=2):
    """Return unconnected random triangles: large, tiny, off screen, behind the camera, touching and doubled."""
    g = torch.Generator().manual_seed(seed)
    centre = torch.randn(batch, count, 1, 3, generator=g) * torch.tensor([0.8, 0.6, 0.8]) + torch.tensor([0, 0, 2.0])
    size = 10 ** (torch.rand(batch, count, 1, 1, generator=g) * 2 - 2)
    corners = centre + size * torch.randn(batch, count, 3, 3, generator=g)
    vertices = corners.reshape(batch, -1, 3)
    faces = torch.arange(3 * count).reshape(count, 3)
    neighbours = torch.stack([faces[:-1, 0], faces[:-1, 1], faces[1:, 2]], dim=1)[:20]
    return vertices, torch.cat([faces, neighbours, faces[:5].flip(1), faces[:5, [0, 0, 1]]])


@pytest.mark.parametrize('backend', ALL)
def test_one_triangle_by_hand(backend):
    # Corners at pixels (1, 1), (5, 1), (1, 4): centres inside are j + .5 - 1 <= 4 (1 - (i + .5 - 1) / 3).
    vertices = torch.tensor([[[1.0, 1, 1], [5, 1, 1], [1, 4, 1]]])
    ids = rasterize(vertices, torch.tensor([[0, 1, 2]]), torch.tensor([[1.0, 1, 0, 0]]), (5, 6), backend)
    expected = torch.full((1, 5, 6), -1, dtype=torch.int32)
    expected[0, 1, 1:4] = expected[0, 2, 1:3] = expected[0, 3, 1] = 0
    assert ids.dtype == torch.int32
    assert torch.equal(ids, expected)


@pytest.mark.parametrize('backend', FAST)
def test_slanted_plane_has_its_depth(backend):
    # Plane z = 2 + 0.3 x - 0.2 y, so z (1 - 0.3 dx + 0.2 dy) = 2 along the ray (dx, dy, 1).
    xy = torch.tensor([[-2.5, -2.5], [2.5, -2.5], [2.5, 2.5], [-2.5, 2.5]])
    vertices = torch.cat([xy, 2 + 0.3 * xy[:, :1] - 0.2 * xy[:, 1:]], dim=1)[None]
    rendered = render_depth(vertices, torch.tensor([[0, 1, 2], [0, 2, 3]]), CAMERA, SIZE, backend)
    dx, dy = rays(CAMERA[0], SIZE)
    assert rendered.mask.all()
    torch.testing.assert_close(rendered.depth[0].double(), 2 / (1 - 0.3 * dx + 0.2 * dy), rtol=1e-6, atol=0)


@pytest.mark.parametrize('backend', FAST)
def test_sphere_has_its_depth_and_no_cracks(backend):
    vertices, faces = sphere(rings=48)
    size, camera = (120, 120), torch.tensor([[300.0, 300, 60, 60]])
    rendered = render_depth(vertices[None], faces, camera, size, backend)
    dx, dy = rays(camera[0], size)
    square, discriminant = dx**2 + dy**2 + 1, 9 - (dx**2 + dy**2 + 1) * (9 - 0.25)
    inner = discriminant > 0.02
    truth = (3 - discriminant.clamp(min=0).sqrt()) / square
    assert inner.sum() > 4000
    assert rendered.mask[0][inner].all()
    assert not rendered.mask[0][discriminant < 0].any()
    # A hole shows the far side, 0.3 m and more behind; 48 rings lie within 1.5 mm of the sphere along the ray.
    assert (rendered.depth[0] - truth)[inner].abs().max() < 5e-3


def posed_body():
    """Return a folded, lumpy closed mesh: a sphere bent and stretched, which hides parts of itself."""
    points, faces = sphere(rings=20, radius=0.4, centre=(0, 0, 0))
    x, y, z = points.unbind(1)
    bent = torch.stack([x + 0.3 * (7 * z).sin(), y + 0.2 * (9 * x).cos(), z + 0.3 * (5 * y).sin()], dim=1)
    turn = torch.linalg.qr(torch.randn(3, 3, 3, generator=torch.Generator().manual_seed(3)))[0]
    return bent @ turn + torch.tensor([0, 0, 1.6]), faces


@pytest.mark.parametrize('scene', ['soup 0', 'soup 1', 'soup 2', 'body'])
def test_numba_and_torch_agree_to_the_bit(scene):
    vertices, faces = posed_body() if scene == 'body' else soup(int(scene[-1]))
    cameras = CAMERA.expand(len(vertices), 4)
    one, two = (render_depth(vertices, faces, cameras, SIZE, backend) for backend in FAST)
    assert one.mask.float().mean() > 0.1
    assert torch.equal(one.face_index, two.face_index)
    assert torch.equal(one.depth, two.depth)


@pytest.mark.parametrize('scene', ['soup 0', 'soup 1', 'soup 2', 'body'])
def test_fast_agrees_with_naive_up_to_ties(scene):
    """The twin computes in double and in space: only pixels within rounding of an edge or of equal depth may differ."""
    vertices, faces = posed_body() if scene == 'body' else soup(int(scene[-1]))
    cameras = CAMERA.expand(len(vertices), 4)
    fast, slow = (rasterize(vertices, faces, cameras, SIZE, backend) for backend in ('numba', 'naive'))
    differing = (fast != slow).nonzero()
    assert len(differing) <= 1e-3 * fast.numel()
    for image, i, j in differing.tolist():
        hits = naive.meet(vertices[image].double().numpy()[faces], naive.pixel_ray(CAMERA[0].double().numpy(), i, j))
        a, b = (
            hits[ids[image, i, j]] if ids[image, i, j] >= 0 else np.array([0, 0, 0, np.nan]) for ids in (fast, slow)
        )
        assert abs(a[3] - b[3]) < 1e-5 or min(*a[:3], *b[:3]) < 1e-4


@pytest.mark.parametrize('backend', ALL)
def test_equal_depth_goes_to_the_lower_id(backend):
    vertices, faces = (
        torch.tensor([[[-9.0, -9, 2], [9, -9, 2], [0, 9, 2]]]),
        torch.tensor([[2, 1, 0], [0, 1, 2], [1, 2, 0]]),
    )
    assert rasterize(vertices, faces, CAMERA, SIZE, backend).unique().tolist() in ([0], [-1, 0])
    assert rasterize(vertices, faces, CAMERA, SIZE, backend).max() == 0


@pytest.mark.parametrize('backend', FAST)
def test_shared_edge_through_pixel_centres_belongs_to_someone(backend):
    # The diagonal of the square runs exactly through pixel centres.
    vertices = torch.tensor([[[0.0, 0, 1], [6, 0, 1], [6, 6, 1], [0, 6, 1]]])
    ids = rasterize(vertices, torch.tensor([[0, 1, 2], [0, 2, 3]]), torch.tensor([[1.0, 1, 0, 0]]), (6, 6), backend)
    assert (ids >= 0).all()
    assert (ids[0].diagonal() == 0).all()


@pytest.mark.parametrize('backend', ALL)
def test_faces_that_cannot_be_drawn_are_left_out(backend):
    good = [[-9.0, -9, 2], [9, -9, 2], [0, 9, 2]]
    for bad in (float('nan'), float('inf'), -float('inf')):
        for axis in range(3):
            vertices = torch.tensor([[*good, *good]])
            vertices[0, :3] -= torch.tensor([0, 0, 1.0])
            vertices[0, 1, axis] = bad
            ids = rasterize(vertices, torch.tensor([[0, 1, 2], [3, 4, 5]]), CAMERA, SIZE, backend)
            assert 0 not in ids
            assert 1 in ids
    behind = torch.tensor([[*good]]) * torch.tensor([1, 1, -1.0])
    assert (rasterize(behind, torch.tensor([[0, 1, 2]]), CAMERA, SIZE, backend) == -1).all()
    assert (rasterize(behind * torch.tensor([1, 1, 0.0]), torch.tensor([[0, 1, 2]]), CAMERA, SIZE, backend) == -1).all()


@pytest.mark.parametrize('backend', FAST)
def test_enormous_projections_do_not_overflow(backend):
    vertices = torch.tensor(
        [[[-1e20, -9, 1], [9, -9, 1e-30], [0, 1e30, 2], [-1e6, -9e6, 2], [1e6, -9e6, 2], [0, 9e6, 2]]]
    )
    rendered = render_depth(vertices, torch.tensor([[0, 1, 2], [3, 4, 5]]), CAMERA, SIZE, backend)
    assert rendered.depth.isfinite().all()
    torch.testing.assert_close(rendered.depth[rendered.face_index == 1].mean(), torch.tensor(2.0))


@pytest.mark.parametrize('backend', ALL)
def test_empty_scenes_are_empty_images(backend):
    none = torch.zeros(0, 3, dtype=torch.int64)
    assert (rasterize(torch.zeros(2, 0, 3), none, CAMERA.expand(2, 4), SIZE, backend) == -1).all()
    assert rasterize(torch.zeros(0, 3, 3), torch.tensor([[0, 1, 2]]), CAMERA[:0], SIZE, backend).shape == (0, *SIZE)
    vertices = torch.full((1, 3, 3), -1.0, requires_grad=True)
    rendered = render_depth(
        vertices, torch.tensor([[0, 1, 2]]), CAMERA, SIZE, 'torch' if backend == 'naive' else backend
    )
    rendered.depth.sum().backward()
    assert not rendered.mask.any()
    assert (vertices.grad == 0).all()


@pytest.mark.parametrize('backend', FAST)
def test_batch_equals_loop(backend):
    vertices, faces = soup(5, batch=3)
    cameras = CAMERA * torch.tensor([[1.0], [1.1], [0.9]])
    together = render_depth(vertices, faces, cameras, SIZE, backend)
    for k in range(3):
        alone = render_depth(vertices[k : k + 1], faces, cameras[k : k + 1], SIZE, backend)
        assert torch.equal(alone.depth[0], together.depth[k])
        assert torch.equal(alone.face_index[0], together.face_index[k])


def test_small_pieces_change_nothing(monkeypatch):
    from hwhup_core.render import torch_backend

    vertices, faces = soup(6, batch=3)
    whole = rasterize(vertices, faces, CAMERA.expand(3, 4), SIZE, 'torch')
    monkeypatch.setattr(torch_backend, 'PIECE', 500)
    assert torch.equal(rasterize(vertices, faces, CAMERA.expand(3, 4), SIZE, 'torch'), whole)


def test_gradient_against_autograd_differences_in_double():
    vertices, faces = posed_body()
    vertices, faces, size = vertices[:1].double(), faces[::3], (6, 7)
    camera = torch.tensor([[8.0, 8, 3.4, 3.1]], dtype=torch.float64)
    face_index = rasterize(vertices, faces, camera, size)
    used = faces[face_index[face_index >= 0].long()].unique()
    assert len(used) > 20
    part = vertices[:, used].clone().requires_grad_()

    def depth(moved):
        return render_depth(vertices.index_copy(1, used, moved), faces, camera, size, 'torch', face_index).depth

    assert torch.autograd.gradcheck(depth, (part,), eps=1e-7, atol=1e-4)


def test_rendered_depth_follows_the_gradient():
    """Finite differences through the whole renderer, rasterisation included, at pixels that keep their face."""
    vertices, faces = posed_body()
    vertices, cameras = vertices.double(), CAMERA.double().expand(3, 4)
    step = 1e-6 * torch.randn(vertices.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    before, after = (render_depth(v, faces, cameras, SIZE, 'torch') for v in (vertices - step, vertices + step))
    moving = vertices.clone().requires_grad_()
    kept = before.mask & (before.face_index == after.face_index)
    assert kept.sum() > 0.95 * before.mask.sum()
    weight = torch.randn(kept.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * kept
    (render_depth(moving, faces, cameras, SIZE, 'torch').depth * weight).sum().backward()
    numeric = ((after.depth - before.depth) * weight).sum()
    torch.testing.assert_close((moving.grad * 2 * step).sum(), numeric, rtol=1e-3, atol=0)


def test_numba_gradient_equals_torch_and_naive():
    vertices, faces = posed_body()
    cameras = CAMERA.expand(3, 4)
    gradients = []
    for backend in FAST:
        moving = vertices.clone().requires_grad_()
        rendered = render_depth(moving, faces, cameras, SIZE, backend)
        weight = torch.randn(rendered.depth.shape, generator=torch.Generator().manual_seed(2))
        (rendered.depth * weight).sum().backward()
        gradients.append(moving.grad)
    slow = np.zeros(vertices.shape)
    for image, i, j in rendered.mask.nonzero().tolist():
        ids = faces[rendered.face_index[image, i, j]].numpy()
        corners, ray = vertices[image].double().numpy()[ids], naive.pixel_ray(CAMERA[0].double().numpy(), i, j)
        slow[image, ids] += float(weight[image, i, j]) * naive.depth_slope(corners, ray)
    scale = gradients[1].norm()
    assert (gradients[0] - gradients[1]).norm() < 1e-5 * scale
    assert (gradients[0] - torch.from_numpy(slow)).norm() < 1e-3 * scale


def test_sum_of_the_gradient_is_one_per_pixel_along_z():
    """Moving all vertices by dz moves the depth of a frontal plane by dz, and moving them sideways by nothing."""
    vertices = torch.tensor([[[-9.0, -9, 2], [9, -9, 2], [9, 9, 2], [-9, 9, 2]]], requires_grad=True)
    render_depth(vertices, torch.tensor([[0, 1, 2], [0, 2, 3]]), CAMERA, SIZE).depth.sum().backward()
    torch.testing.assert_close(
        vertices.grad.sum(dim=(0, 1)), torch.tensor([0.0, 0.0, SIZE[0] * SIZE[1]]), rtol=1e-5, atol=1e-2
    )


@pytest.mark.parametrize('backend', FAST)
def test_given_face_map_keeps_its_planes(backend):
    vertices = torch.tensor([[[-9.0, -9, 2], [9, -9, 2], [0, 9, 2]]])
    faces, everywhere = torch.tensor([[0, 1, 2]]), torch.zeros(1, *SIZE, dtype=torch.int32)
    rendered = render_depth(vertices + torch.tensor([100.0, 0, 0]), faces, CAMERA, SIZE, backend, everywhere)
    torch.testing.assert_close(rendered.depth, torch.full((1, *SIZE), 2.0))
    behind = render_depth(-vertices, faces, CAMERA, SIZE, backend, everywhere)
    assert not behind.mask.any()


def test_depth_buffer_is_the_same_renderer():
    vertices, faces = soup(7)
    expected = render_depth(vertices, faces, CAMERA.expand(2, 4), SIZE, 'torch')
    depth, ids = numba_backend.depth_buffer(vertices[0].numpy(), faces.int().numpy(), CAMERA[0].numpy(), SIZE)
    assert depth.dtype == np.float32
    assert ids.dtype == np.int32
    np.testing.assert_array_equal(depth, expected.depth[0])
    np.testing.assert_array_equal(ids, expected.face_index[0])


def test_interpolation_of_z_is_depth():
    vertices, faces = (array.numpy() for array in soup(8))
    depth, ids = numba_backend.depth_buffer(vertices[0], faces, CAMERA[0].numpy(), SIZE)
    values = numba_backend.interpolate(vertices[0], faces, CAMERA[0].numpy(), ids, vertices[0])
    np.testing.assert_allclose(values[..., 2], depth, rtol=2e-4)
    dx, _ = rays(CAMERA[0], SIZE)
    np.testing.assert_allclose(values[..., 0], depth * dx.numpy(), atol=2e-3)


def test_inputs_are_unchanged():
    vertices, faces = soup(9)
    copies = vertices.clone(), faces.clone()
    render_depth(vertices, faces, CAMERA.expand(2, 4), SIZE)
    assert torch.equal(vertices, copies[0])
    assert torch.equal(faces, copies[1])


def test_auto_is_numba_for_floats_and_torch_for_doubles():
    vertices, faces = soup(1, batch=1)
    assert rasterize(vertices, faces, CAMERA, SIZE).dtype == torch.int32
    assert render_depth(vertices.double(), faces, CAMERA.double(), SIZE).depth.dtype == torch.float64


@pytest.mark.parametrize(
    ('change', 'error', 'message'),
    [
        ({'backend': 'opengl'}, ConfigError, "Unknown renderer back end 'opengl'. Choose one of auto, numba"),
        (
            {'vertices': torch.zeros(1, 3, 3).double(), 'backend': 'numba'},
            ConfigError,
            "float64.*Choose 'torch' or 'auto'",
        ),
        ({'vertices': torch.zeros(1, 3, 3).half()}, HwhupError, 'float16.*takes float32 or float64'),
        ({'faces': torch.tensor([[0, 1, 3]])}, HwhupError, 'vertices 0 to 3, but the mesh has 3'),
        ({'faces': torch.tensor([[-1, 1, 2]])}, HwhupError, 'vertices -1 to 2'),
        ({'size': (0, 5)}, HwhupError, 'has no pixels'),
        ({'face_index': torch.zeros(1, 5, 6, dtype=torch.int32)}, HwhupError, 'face_index has shape'),
        ({'face_index': torch.full((1, *SIZE), 7)}, HwhupError, 'names face 7, but there are 1'),
    ],
)
def test_wrong_input_is_refused(change, error, message):
    given = {'vertices': torch.ones(1, 3, 3), 'faces': torch.tensor([[0, 1, 2]]), 'cameras': CAMERA, 'size': SIZE}
    with pytest.raises(error, match=message):
        render_depth(**(given | change))


def test_one_camera_for_two_meshes_is_refused():
    """Out of bounds for the compiled loops; in the suite the shape check speaks first, so ask ours directly."""
    with pytest.raises(HwhupError, match=r'shape \(1, 4\) for 2 meshes.*\.expand'):
        _check_mesh(torch.zeros(2, 3, 3), torch.tensor([[0, 1, 2]]), CAMERA)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device: torch is tested on the CPU only')
def test_cuda_equals_the_cpu():
    vertices, faces = soup(2)
    cameras = CAMERA.expand(2, 4)
    here = rasterize(vertices, faces, cameras, SIZE, 'torch')
    there = rasterize(vertices.cuda(), faces.cuda(), cameras.cuda(), SIZE)
    assert (there.cpu() != here).float().mean() < 1e-3
    with pytest.raises(ConfigError, match='on cuda'):
        rasterize(vertices.cuda(), faces.cuda(), cameras.cuda(), SIZE, 'numba')


@pytest.mark.skipif(sys.platform == 'win32', reason='Windows has no fork')
@pytest.mark.filterwarnings('ignore:.*fork.*:DeprecationWarning')
def test_a_forked_child_renders_after_its_parent():
    vertices, faces = soup(3, batch=4)
    cameras = CAMERA.expand(4, 4)
    expected = rasterize(vertices, faces, cameras, SIZE, 'numba')
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if torch.equal(rasterize(vertices, faces, cameras, SIZE, 'numba'), expected) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_pytorch3d_coordinates_by_hand():
    # In a 4 x 6 image the shorter side spans [-1, 1]: pixel (0, 0) has x = 3/2 - 1/4 (left), y = 1 - 1/4 (up).
    point = torch.tensor([[0.5, 0.5, 1.0], [6.0, 8.0, 2.0], [1.0, 1.0, -1.0]])
    expected = torch.tensor([[1.25, 0.75, 1.0], [0.0, -1.0, 2.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(normalised(point, torch.tensor([1.0, 1, 0, 0]), (4, 6)), expected)


def test_pytorch3d_agrees():
    pytest.importorskip('pytorch3d', reason='pytorch3d is not installed: its adapter is not compared')
    vertices, faces = posed_body()
    cameras = CAMERA.expand(3, 4)
    ours, theirs = (rasterize(vertices, faces, cameras, SIZE, backend) for backend in ('torch', 'pytorch3d'))
    assert (ours != theirs).sum() <= 1e-3 * ours.numel()
