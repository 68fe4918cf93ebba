"""Colour pictures, the Kinect's depth and the labels of hidden joints."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwhup_core.body.model import load_body
from hwhup_core.synthetic.looks import Look, draw_look
from hwhup_core.synthetic.occlusion import FLESH, slp_occlusion
from hwhup_core.synthetic.scene import Material, SceneRender
from hwhup_core.synthetic.sensors import KINECT, REALSENSE, SENSORS, DepthNoise, depth_noise
from hwhup_core.synthetic.shading import color_picture
from hwhup_core.synthetic.views import overhead_view

SIZE = 64
CAMERA = np.array([64.0, 64.0, 32.0, 32.0])
VIEW = overhead_view(np.zeros(3), 2.0, 0.0, 0.0, 0.0)
NO_FACES = np.zeros((0, 3), np.int32)
NO_VERTICES = np.zeros((0, 3), np.float32)


@pytest.fixture(scope='module')
def look() -> Look:
    return draw_look(np.random.default_rng(0), 'bed', load_body('adult'))


def plane(depth: np.ndarray, material: Material = Material.SHEET) -> SceneRender:
    return SceneRender(
        depth.astype(np.float32), np.full(depth.shape, material, np.uint8), np.full(depth.shape, -1, np.int32)
    )


def plain(look: Look, light: tuple[float, float, float], ambient: float) -> Look:
    """Grey cloth without pattern."""
    return replace(
        look,
        colors=np.full_like(look.colors, 0.5),
        patterns=np.zeros_like(look.patterns),
        light=np.array(light) / np.linalg.norm(light),
        ambient=ambient,
        white=np.ones(3),
        vertex_colors=np.zeros((0, 3), np.float32),
        vertex_kelvin=np.zeros(0, np.float32),
    )


def brightness(render: SceneRender, look: Look) -> float:
    color = color_picture(render, NO_VERTICES, NO_FACES, CAMERA, VIEW, look, np.random.default_rng(2))
    return float(color[24:40, 24:40].mean())


def test_cloth_is_lit_by_the_cosine_to_its_normal(look):
    flat = plane(np.full((SIZE, SIZE), 2.0))
    above, slanted = plain(look, (0.0, 0.0, 1.0), 0.0), plain(look, (0.0, 3**0.5, 1.0), 0.0)
    assert brightness(flat, slanted) / brightness(flat, above) == pytest.approx(0.5, abs=0.02)
    assert brightness(flat, plain(look, (0.0, 0.0, -1.0), 0.0)) < 3
    # z = 2 + x tan 45: world y is left, so this slope faces the light from the right.
    x = (np.arange(SIZE) + 0.5 - 32) / 64
    ramp = plane(np.broadcast_to(2 / (1 + x), (SIZE, SIZE)))
    toward, away = plain(look, (0.0, 1.0, 1.0), 0.0), plain(look, (0.0, -1.0, 1.0), 0.0)
    bright, dark = (brightness(ramp, each) / brightness(flat, above) for each in (toward, away))
    assert sorted((bright, dark)) == pytest.approx([0.0, 1.0], abs=0.06)


def test_ambient_light_reaches_everything(look):
    flat = plane(np.full((SIZE, SIZE), 2.0))
    lit, dim = plain(look, (0.0, 0.0, 1.0), 1.0), plain(look, (0.0, 0.0, -1.0), 0.6)
    assert brightness(flat, dim) / brightness(flat, lit) == pytest.approx(0.6, abs=0.02)


def test_the_body_is_drawn_in_its_colours(look):
    square = np.array([[-1.0, -1.0, 1.5], [1.0, -1.0, 1.5], [1.0, 1.0, 1.5], [-1.0, 1.0, 1.5]], np.float32)
    face = np.full((SIZE, SIZE), -1, np.int32)
    face[20:44, 20:44] = np.where(np.tri(24, dtype=bool), 1, 0)
    material = np.where(face >= 0, Material.BODY, Material.WALL).astype(np.uint8)
    render = SceneRender(np.where(face >= 0, 1.5, 2.0).astype(np.float32), material, face)
    colors = np.tile(np.float32([0.8, 0.1, 0.1]), (4, 1))
    red = replace(plain(look, (0, 0, 1), 1.0), vertex_colors=colors, vertex_kelvin=np.zeros(4, np.float32))
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    color = color_picture(render, square, faces, CAMERA, VIEW, red, np.random.default_rng(0))
    middle, corner = color[28:36, 28:36].mean(axis=(0, 1)), color[:6, :6].mean(axis=(0, 1))
    assert middle[0] > 4 * middle[1]
    assert np.ptp(corner) < 12


def test_every_material_has_a_colour_and_looks_differ():
    looks = [draw_look(np.random.default_rng(seed), 'room', load_body('adult')) for seed in range(2)]
    assert looks[0].colors.shape == (len(Material), 2, 3)
    assert looks[0].patterns.shape[0] == len(Material)
    assert not np.allclose(looks[0].colors, looks[1].colors)
    assert not np.allclose(looks[0].vertex_colors, looks[1].vertex_colors)
    for each in looks:
        assert each.colors.min() >= 0
        assert each.colors.max() <= 1
        assert np.linalg.norm(each.light) == pytest.approx(1)


def test_same_generator_same_picture(look):
    flat = plane(np.full((SIZE, SIZE), 2.0))
    first, second = (
        color_picture(flat, NO_VERTICES, NO_FACES, CAMERA, VIEW, look, np.random.default_rng(1)) for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


def test_presets():
    assert DepthNoise() == REALSENSE == SENSORS['realsense']
    assert SENSORS['kinect'] is KINECT


def test_kinect_is_off_by_millimetres_in_millimetre_steps():
    depth = np.full((300, 300), 2.1, np.float32)
    measured = depth_noise(depth, np.random.default_rng(0), KINECT)
    error = (measured - depth)[measured > 0]
    assert 0.001 < error.std() < 0.004
    millimetres = measured * 1000
    np.testing.assert_allclose(millimetres, np.rint(millimetres), atol=1e-3)


def test_kinect_is_noisier_at_grazing_angles():
    noise = replace(KINECT, focal_px=300.0, dropout=0.0, holes=0.0, patch_growth=0.0, jitter_px=0.0, edge_dropout=0.0)
    x = (np.arange(300) - 150) / 300
    # A plane whose depth changes by z per unit of x at the centre: a tangent of 2.
    steep = np.broadcast_to((2.0 / (1 - 2 * x * 0.2)).astype(np.float32), (300, 300))
    tilted = np.broadcast_to((2.0 + 4.0 * x * 0.5).astype(np.float32), (300, 300))
    middle = (slice(None), slice(140, 160))
    spread = [
        (depth_noise(plane_, np.random.default_rng(0), noise) - plane_)[middle].std() for plane_ in (steep, tilted)
    ]
    # tan is 0.4 and 1: 1 + 0.15 tan^2.
    assert spread[1] / spread[0] == pytest.approx(1.15 / 1.024, rel=0.05)


def test_flying_pixels_lie_between_the_surfaces():
    depth = np.full((200, 200), 2.0, np.float32)
    depth[:, 100:] = 1.0
    clean = replace(
        KINECT, axial_base=0.0, axial_growth=0.0, patch_growth=0.0, jitter_px=0.0, dropout=0.0, holes=0.0,
        edge_dropout=0.0, depth_step=0.0, focal_px=200.0,
    )  # fmt: skip
    measured = depth_noise(depth, np.random.default_rng(0), clean)
    np.testing.assert_array_equal(np.delete(measured, (99, 100), axis=1), np.delete(depth, (99, 100), axis=1))
    edge = measured[:, 99:101]
    assert edge.min() >= 1
    assert edge.max() <= 2
    assert ((edge > 1.001) & (edge < 1.999)).mean() == pytest.approx(KINECT.flying, abs=0.1)


def hidden(joint_depth: float, depth: float, material: Material) -> bool:
    """Whether an adult's left wrist at `joint_depth` is hidden by a surface at `depth`."""
    joints = np.tile([0.0, 0.0, joint_depth], (14, 1))
    render = plane(np.full((SIZE, SIZE), depth), material)
    return bool(slp_occlusion(joints, np.full((14, 2), 32.0), render, FLESH['adult'])[11])


def test_joints_are_hidden_by_what_is_in_front_of_them():
    assert not hidden(2.0, 1.97, Material.BODY)
    assert hidden(2.0, 1.85, Material.BODY)
    assert hidden(2.0, 1.95, Material.CAREGIVER)
    assert not hidden(2.0, 2.1, Material.MATTRESS)
    assert not hidden(2.0, 0.0, Material.NOTHING)


def test_a_joint_at_the_edge_of_what_hides_it_is_seen():
    depth, material = np.full((SIZE, SIZE), 1.5), np.full((SIZE, SIZE), Material.OBJECT, np.uint8)
    depth[:, 33:], material[:, 33:] = 1.98, Material.BODY
    render = SceneRender(depth.astype(np.float32), material, np.full((SIZE, SIZE), -1, np.int32))
    joints = np.tile([0.0, 0.0, 2.0], (14, 1))
    pixels = np.tile([32.0, 20.0], (14, 1))
    pixels[1] = (20.0, 20.0)
    answer = slp_occlusion(joints, pixels, render, FLESH['adult'])
    assert answer[1]
    assert not answer[[0, *range(2, 14)]].any()


def test_outside_the_image_and_unknown_pixels_are_hidden():
    pixels = np.full((14, 2), 10.0)
    pixels[0], pixels[1], pixels[2] = (-1.0, 5.0), (64.5, 5.0), (np.nan, 5.0)
    render = plane(np.full((SIZE, SIZE), 2.0), Material.BODY)
    answer = slp_occlusion(np.tile([0.0, 0.0, 2.0], (14, 1)), pixels, render, FLESH['infant'])
    assert answer[:3].all()
    assert not answer[3:].any()
