"""Warmth of bodies, and through their covers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwhup_core.body.model import load_body
from hwhup_core.synthetic.infrared import BLANKET, SHEET, infrared_picture
from hwhup_core.synthetic.looks import Look, draw_look
from hwhup_core.synthetic.scene import Material, SceneRender

SIZE = 96
CAMERA = np.array([96.0, 96.0, 48.0, 48.0])
# A square of two faces, 0.6 m wide, seen in the middle third of the image.
SQUARE = np.array([[-0.35, -0.35, 2.0], [0.35, -0.35, 2.0], [0.35, 0.35, 2.0], [-0.35, 0.35, 2.0]], np.float32)
FACES = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
BODY = (slice(36, 60), slice(36, 60))
FAR = (slice(0, 12), slice(0, 12))


@pytest.fixture(scope='module')
def look() -> Look:
    drawn = draw_look(np.random.default_rng(0), 'bed', load_body('adult'))
    return replace(
        drawn,
        vertex_colors=np.zeros((4, 3), np.float32),
        vertex_kelvin=np.full(4, 306.0, np.float32),
        room_kelvin=295.0,
    )


def bare() -> SceneRender:
    body_face = np.full((SIZE, SIZE), -1, np.int32)
    body_face[32:64, 32:64] = np.where(np.tri(32, dtype=bool), 1, 0)
    on_body = body_face >= 0
    return SceneRender(
        np.where(on_body, 2.0, 2.2).astype(np.float32),
        np.where(on_body, Material.BODY, Material.MATTRESS).astype(np.uint8),
        body_face,
    )


def covered(material: Material, height: float) -> SceneRender:
    everywhere = np.full((SIZE, SIZE), material, np.uint8)
    nothing = np.full((SIZE, SIZE), -1, np.int32)
    return SceneRender((bare().depth - np.float32(height)).astype(np.float32), everywhere, nothing)


def picture(seen: SceneRender, look: Look, seed: int = 1) -> np.ndarray:
    return infrared_picture(bare(), seen, SQUARE, FACES, CAMERA, look, np.random.default_rng(seed))


def contrast(seen: SceneRender, look: Look, seed: int = 1) -> float:
    kelvin = picture(seen, look, seed)
    return float(kelvin[BODY].mean() - kelvin[FAR].mean())


def test_uncovered_skin_has_its_temperature_and_the_room_its_own(look):
    kelvin = picture(bare(), look)
    assert kelvin.dtype == np.float32
    assert kelvin[BODY].mean() == pytest.approx(306.0, abs=0.7)
    assert kelvin[FAR].mean() == pytest.approx(295.0, abs=1.5)


@pytest.mark.parametrize('seed', range(4))
def test_a_sheet_that_touches_passes_most_and_a_blanket_little(look, seed):
    whole = contrast(bare(), look, seed)
    sheet = contrast(covered(Material.SHEET, 0.0), look, seed) / whole
    blanket = contrast(covered(Material.BLANKET, 0.0), look, seed) / whole
    assert SHEET.passed[0] - 0.1 < sheet < SHEET.passed[1] + 0.1
    assert BLANKET.passed[0] - 0.08 < blanket < BLANKET.passed[1] + 0.05


def test_a_tent_passes_less_than_what_touches(look):
    assert contrast(covered(Material.SHEET, 0.1), look) < 0.5 * contrast(covered(Material.SHEET, 0.0), look)


def test_edges_are_sharper_through_a_sheet(look):
    def steepest(material: Material) -> float:
        seen = covered(material, 0.0)
        profile = picture(seen, look)[36:60].mean(axis=0)
        return float(np.abs(np.diff(profile)).max() / np.ptp(profile))

    assert steepest(Material.SHEET) > 1.3 * steepest(Material.BLANKET)


def test_noise_is_a_tenth_of_a_kelvin_at_most(look):
    kelvin = picture(bare(), look)[BODY]
    noise = np.diff(kelvin, axis=1).std() / np.sqrt(2)
    assert 0.04 < noise < 0.11


def test_people_are_as_warm_as_people():
    for kind, name in (('bed', 'adult'), ('crib', 'infant'), ('room', 'adult')):
        kelvin = draw_look(np.random.default_rng(3), kind, load_body(name)).vertex_kelvin
        assert 300 <= kelvin.min() < 303.5
        assert 305 < kelvin.max() <= 308


def test_same_generator_same_picture_and_inputs_stay(look):
    seen = covered(Material.SHEET, 0.01)
    before = seen.depth.copy()
    np.testing.assert_array_equal(picture(seen, look, 5), picture(seen, look, 5))
    np.testing.assert_array_equal(seen.depth, before)
