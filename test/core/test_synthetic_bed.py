"""The bed: heights, materials, and bodies that rest on mattress and pillow."""

from __future__ import annotations

import numpy as np
import pytest

from hwhup_core.errors import ConfigError
from hwhup_core.synthetic.bed import YIELD, BedConfig, build_bed
from hwhup_core.synthetic.placement import Placement, resting_translation
from hwhup_core.synthetic.scene import Material, SceneRender, add_surface, assemble
from hwhup_core.synthetic.solids import Cushion, box, slab, tube, wall
from hwhup_core.synthetic.views import overhead_view

CAMERA = np.array([100.0, 100.0, 112.0, 112.0])
SIZE = (224, 224)
ABOVE = overhead_view(np.zeros(3), 2.0, 0.0, 0.0, 0.0)
PLAIN = BedConfig(
    width=(1.0, 1.0), waviness=0.0, bump=0.0, floor_depth=(0.5, 0.5), pillow_probability=0.0, table_probability=0.0,
    object_probability=0.0, rail_up=0.0,
)  # fmt: skip


def seen(scene):
    return scene.render_static(CAMERA, SIZE, ABOVE)


def test_a_plain_bed_is_flat_and_the_floor_below_it():
    static = seen(build_bed(PLAIN, np.random.default_rng(0)))
    np.testing.assert_allclose(static.depth[static.material == Material.MATTRESS].max(), 2.0, atol=0.2)
    np.testing.assert_allclose(static.depth[static.material == Material.FLOOR], 2.5, atol=1e-4)
    assert static.depth[112, 112] == pytest.approx(2.0)
    # 2.0 x 1.0 m at 2 m with a focal length of 100 px: 100 x 50 px.
    assert (static.material == Material.MATTRESS).sum() == pytest.approx(5000, rel=0.05)


def test_rails_are_seen_above_the_mattress_only_when_they_are_up():
    for up in (0.0, 1.0):
        scene = build_bed(BedConfig(rail_up=up, rail_height=(0.3, 0.3)), np.random.default_rng(3))
        metal = np.unique(scene.faces[scene.material == Material.METAL])
        beside = np.abs(scene.vertices[metal, 1]) > scene.width / 2 + 0.02
        assert scene.vertices[metal][beside, 2].max() == pytest.approx(0.3 if up else -0.06, abs=1e-9)


def test_the_pillow_lies_at_the_head_end_and_yields_to_a_head():
    config = BedConfig(pillow_probability=1.0, pillow_thickness=(0.06, 0.06), waviness=0.0, bump=0.0)
    scene = build_bed(config, np.random.default_rng(1))
    corners = scene.vertices[np.unique(scene.faces[scene.material == Material.PILLOW])]
    assert corners[:, 2].max() == pytest.approx(0.06)
    assert corners[:, 0].min() > 0.3
    assert corners[:, 0].max() < 1.05
    middle = corners[corners[:, 2].argmax(), :2]
    heights = scene.mattress_height(np.stack([middle, [-0.8, 0.0]]))
    np.testing.assert_allclose(heights, (YIELD * 0.06, 0.0), atol=2e-3)
    assert (seen(scene).material == Material.PILLOW).sum() > 200


def test_a_cushion_is_as_high_as_its_mesh():
    cushion = Cushion(np.array([0.3, -0.1]), np.array([0.2, 0.3]), 0.4, 0.05)
    vertices, faces = cushion.mesh()
    np.testing.assert_allclose(cushion.heights(vertices[:, :2]), vertices[:, 2], atol=1e-6)
    assert cushion.heights(np.array([[0.3, -0.1], [2.0, 0.0]])) == pytest.approx([0.05, 0.0])
    assert faces.max() < len(vertices)


def test_a_plate_rests_on_the_pillow():
    axes = np.linspace(-1, 1, 21), np.linspace(-0.5, 0.5, 11)
    heights = np.zeros((21, 11))
    heights[15:] = 0.02
    scene = assemble([(slab(axes, heights, 0.1), Material.MATTRESS)], (2.0, 1.0), heights, -0.5)
    plate = np.stack([*(a.ravel() for a in np.meshgrid(np.linspace(-0.9, 0.9, 40), np.linspace(-0.3, 0.3, 20)))], 1)
    vertices = np.concatenate([plate, np.full((len(plate), 1), 1.7)], axis=1) @ ABOVE.rotation.T
    shift = resting_translation(vertices, np.zeros(3), ABOVE, scene, Placement(np.zeros(2), 0.0))
    world = (vertices + shift - ABOVE.translation) @ ABOVE.rotation
    np.testing.assert_allclose(world[:, 2], 0.02, atol=1e-6)


def test_tables_and_things_are_counted_and_the_object_comes_last():
    scene = build_bed(BedConfig(table_probability=1.0, object_probability=1.0), np.random.default_rng(5))
    # Two tables, each with one thing on it, of twelve faces each.
    assert (scene.material == Material.FURNITURE).sum() == 48
    assert (scene.material[scene.faces_without_object :] == Material.OBJECT).all()
    assert scene.object_center is not None
    assert scene.vertices[np.unique(scene.faces[scene.material == Material.FURNITURE]), 2].min() == scene.floor


def test_the_seed_decides_the_bed():
    first, again, other = (build_bed(BedConfig(), np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.vertices, again.vertices)
    np.testing.assert_array_equal(first.material, again.material)
    assert first.width != other.width


def test_bad_beds_are_refused():
    with pytest.raises(ConfigError, match='rail_height'):
        BedConfig(rail_height=(0.4, 0.2))
    with pytest.raises(ConfigError, match='too small'):
        BedConfig(width=(0.1, 0.1))
    with pytest.raises(ConfigError, match='pillow_length'):
        BedConfig(pillow_length=(0.3, 3.0))
    with pytest.raises(ConfigError, match='rail_up'):
        BedConfig(rail_up=1.5)


def test_solids_are_closed_and_as_large_as_asked():
    vertices, faces = box((0, 0, 0), (1, 2, 3))
    assert volume(vertices, faces) == pytest.approx(6.0)
    path = np.stack([np.zeros(5), np.linspace(0, 2, 5), np.zeros(5)], axis=1)
    vertices, faces = tube(path, np.full(5, 0.1), around=200)
    assert abs(volume(vertices, faces)) == pytest.approx(np.pi * 0.01 * 2, rel=1e-3)
    vertices, _ = wall(np.array([1.0, 2.0]), np.array([4.0, 6.0]), 2.5)
    np.testing.assert_allclose(vertices.min(axis=0), (1, 2, 0))
    np.testing.assert_allclose(vertices.max(axis=0), (4, 6, 2.5))


def volume(vertices, faces):
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return float((a * np.cross(b, c)).sum() / 6)


def test_a_surface_hides_what_is_behind_it_alone():
    static = seen(build_bed(PLAIN, np.random.default_rng(0)))
    before = SceneRender(static.depth, static.material, np.zeros(SIZE, np.int32))
    plate = np.array([[-0.2, -0.2, 0.5], [0.2, -0.2, 0.5], [0.2, 0.2, 0.5], [-0.2, 0.2, 0.5]])
    quad = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    after = add_surface(before, plate, quad, Material.CAREGIVER, CAMERA, ABOVE)
    hit = after.material == Material.CAREGIVER
    # 0.4 m at 1.5 m with 100 px: 26.7 px.
    assert hit.sum() == pytest.approx(26.7**2, rel=0.1)
    np.testing.assert_allclose(after.depth[hit], 1.5, rtol=1e-6)
    assert (after.body_face[hit] == -1).all()
    np.testing.assert_array_equal(after.depth[~hit], before.depth[~hit])
    assert (before.material != Material.CAREGIVER).all()
    under = add_surface(before, plate - (0, 0, 0.7), quad, Material.CAREGIVER, CAMERA, ABOVE)
    np.testing.assert_array_equal(under.depth, before.depth)
