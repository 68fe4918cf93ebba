"""Covers: the cloth lies on everybody and everything below it, and free where nobody is."""

from __future__ import annotations

import numpy as np
import pytest

from hwhup_core.body.joints import SMPL_24
from hwhup_core.body.model import load_body
from hwhup_core.errors import ConfigError
from hwhup_core.synthetic import covers
from hwhup_core.synthetic.bed import BedConfig, build_bed
from hwhup_core.synthetic.builds import ADULT
from hwhup_core.synthetic.covers import add_cloth, drape
from hwhup_core.synthetic.domain import Cover
from hwhup_core.synthetic.placement import Placement, pose_bodies, resting_translation
from hwhup_core.synthetic.poses import sample_lying_poses
from hwhup_core.synthetic.rotations import joint_rotations, root_rotations
from hwhup_core.synthetic.scene import Material, add_body
from hwhup_core.synthetic.views import overhead_view
from hwhup_core.types import Posture

CAMERA = np.array([190.0, 190.0, 112.0, 112.0])
SIZE = (224, 224)
ABOVE = overhead_view(np.zeros(3), 2.1, 0.0, 0.0, 0.0)
FLAT = BedConfig(waviness=0.0, bump=0.0, pillow_probability=0.0, object_probability=0.0, rail_up=0.0)
BOTH = pytest.mark.parametrize('kind', [Cover.SHEET, Cover.BLANKET])


@pytest.fixture(scope='module')
def bed():
    return build_bed(FLAT, np.random.default_rng(0))


@pytest.fixture(scope='module')
def person(bed):
    """Return vertices and joints of a supine adult in the world, and the faces."""
    body, poses = load_body('adult'), sample_lying_poses(np.random.default_rng(1), 1, Posture.SUPINE, ADULT)
    rotation = ABOVE.rotation @ root_rotations(poses.root)
    posed = pose_bodies(body, rotation, joint_rotations(poses.joint_angles), np.zeros((1, 10)))
    vertices, joints = posed.vertices[0].numpy(), posed.joints[0].numpy()
    shift = resting_translation(vertices, joints[0], ABOVE, bed, Placement(np.zeros(2), 0.012))
    world, bones = ((points + shift - ABOVE.translation) @ ABOVE.rotation for points in (vertices, joints))
    return world, bones, body.faces.numpy().astype(np.int32)


def height_of(cloth, points):
    """Return the height of the cloth's upper side at world x, y; NaN beside it. Slow, and not how it was made."""
    corners = cloth.vertices[cloth.faces[(cloth.faces < cloth.top).all(axis=1)]].astype(float)
    a, ab, ac = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]
    out = np.full(len(points), np.nan)
    for k, (x, y) in enumerate(points):
        px, py = x - a[:, 0], y - a[:, 1]
        v, w = (px * ac[:, 1] - py * ac[:, 0]) / area, (ab[:, 0] * py - ab[:, 1] * px) / area
        hit = np.flatnonzero((v >= -1e-9) & (w >= -1e-9) & (v + w <= 1 + 1e-9))
        if len(hit):
            out[k] = (a[hit, 2] + v[hit] * ab[hit, 2] + w[hit] * ac[hit, 2]).max()
    return out


@BOTH
@pytest.mark.parametrize('seed', range(3))
def test_the_cloth_is_above_the_body_by_its_thickness(bed, person, kind, seed, monkeypatch):
    monkeypatch.setattr(covers, 'ARM_ON_TOP', 0.0)
    world, joints, faces = person
    cloth = drape(bed, world, faces, kind, np.random.default_rng(seed), joints)
    some = world[::7]
    clearance = height_of(cloth, some[:, :2]) - some[:, 2]
    covered = np.isfinite(clearance)
    assert covered.mean() > 0.4
    assert clearance[covered].min() > cloth.thickness - 1e-4


@BOTH
def test_the_cloth_reaches_from_the_feet_to_the_neck_and_leaves_the_head_free(bed, person, kind):
    world, joints, faces = person
    for seed in range(8):
        cloth = drape(bed, world, faces, kind, np.random.default_rng(seed), joints)
        place = [SMPL_24.index(name) for name in ('head', 'left_knee', 'right_knee', 'pelvis')]
        covered = np.isfinite(height_of(cloth, joints[place, :2]))
        np.testing.assert_array_equal(covered, [False, True, True, True])


def test_where_nobody_lies_a_smooth_cloth_lies_flat(bed, monkeypatch):
    plain = covers.Fabric((0.03, 0.03), (3.0, 3.0), (0.0, 0.0), (0.3, 0.5), 2)
    monkeypatch.setitem(covers.FABRICS, Cover.BLANKET, plain)
    triangle = np.array([[-0.5, 0.0, -0.05], [-0.4, 0.0, -0.05], [-0.5, 0.1, -0.05]])
    rng = np.random.default_rng(3)
    cloth = drape(bed, triangle, np.array([[0, 1, 2]], np.int32), Cover.BLANKET, rng)
    lying = cloth.vertices[: cloth.top]
    inside = np.abs(lying[:, 1]) < bed.width / 2 - 0.06
    heights = lying[inside & (lying[:, 0] > -0.9), 2]
    # One layer, or two where the end is folded back.
    assert (np.isclose(heights, 0.03, atol=1e-4) | ((heights > 0.03) & (heights < 0.065))).all()


def test_a_blanket_spans_a_gap_that_a_sheet_falls_into(bed, monkeypatch):
    smooth = {
        Cover.SHEET: covers.Fabric((0.003, 0.003), (16.0, 16.0), (0.0, 0.0), (0.3, 0.5), 0),
        Cover.BLANKET: covers.Fabric((0.003, 0.003), (2.0, 2.0), (0.0, 0.0), (0.3, 0.5), 0),
    }
    monkeypatch.setattr(covers, 'FABRICS', smooth)
    ridges = [np.array([[-0.9, y - 0.05, 0.15], [0.9, y - 0.05, 0.15], [0.9, y + 0.05, 0.15], [-0.9, y + 0.05, 0.15]])
              for y in (-0.15, 0.15)]  # fmt: skip
    quads = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]], np.int32)
    middle = {
        kind: height_of(drape(bed, np.concatenate(ridges), quads, kind, np.random.default_rng(0)), np.zeros((1, 2)))[0]
        for kind in smooth
    }
    # A membrane of curvature c sags by c (L / 2)^2 / 2 in the middle of a gap of L: 0.2 m, and up to a cell a side.
    narrow, wide = 0.1**2 / 2, 0.128**2 / 2
    for kind, curvature in ((Cover.BLANKET, 2.0), (Cover.SHEET, 16.0)):
        assert 0.153 - curvature * wide - 0.003 < middle[kind] < 0.153 - curvature * narrow + 0.001


@BOTH
def test_the_picture_shows_the_cloth_instead_of_the_body(bed, person, kind):
    world, joints, faces = person
    render = add_body(bed.render_static(CAMERA, SIZE, ABOVE), ABOVE.to_camera(world).astype(np.float32), faces, CAMERA)
    cloth = drape(bed, world, faces, kind, np.random.default_rng(4), joints)
    after = add_cloth(render, cloth, CAMERA, ABOVE)
    material = Material.SHEET if kind == Cover.SHEET else Material.BLANKET
    shown = after.material == material
    assert shown.sum() > 4000
    assert (after.depth[shown] < np.where(render.depth[shown] > 0, render.depth[shown], np.inf)).all()
    body, left = (picture.material == Material.BODY for picture in (render, after))
    assert left.sum() < 0.5 * body.sum()
    assert left.sum() > 0.05 * body.sum()
    np.testing.assert_array_equal(after.body_face >= 0, left)


def test_an_arm_on_top_is_seen(bed, person, monkeypatch):
    world, joints, faces = person
    render = add_body(bed.render_static(CAMERA, SIZE, ABOVE), ABOVE.to_camera(world).astype(np.float32), faces, CAMERA)
    seen = []
    for chance in (0.0, 1.0):
        monkeypatch.setattr(covers, 'ARM_ON_TOP', chance)
        cloth = drape(bed, world, faces, Cover.SHEET, np.random.default_rng(2), joints)
        seen.append(int((add_cloth(render, cloth, CAMERA, ABOVE).material == Material.BODY).sum()))
    assert seen[1] > seen[0] + 100


def test_the_seed_decides_the_cloth_and_nothing_given_is_changed(bed, person):
    world, joints, faces = person
    kept = world.copy()
    first, again, other = (
        drape(bed, world, faces, Cover.SHEET, np.random.default_rng(seed), joints) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.vertices, again.vertices)
    assert first.vertices.shape != other.vertices.shape or (first.vertices != other.vertices).any()
    np.testing.assert_array_equal(world, kept)


def test_no_cover_cannot_be_draped(bed, person):
    with pytest.raises(ConfigError, match='draped'):
        drape(bed, person[0], person[2], Cover.NONE, np.random.default_rng(0))
