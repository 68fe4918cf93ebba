"""The caregiver's arm: it comes over the edge and stays off the mattress."""

from __future__ import annotations

import numpy as np
import pytest

from hwhup_core.synthetic.bed import BedConfig, build_bed
from hwhup_core.synthetic.caregiver import FOREARM, HAND, UPPER_ARM, caregiver_arm
from hwhup_core.synthetic.crib import CribConfig, build_crib
from hwhup_core.synthetic.scene import Material, SceneRender, add_surface
from hwhup_core.synthetic.views import overhead_view

CAMERA = np.array([180.0, 180.0, 112.0, 112.0])


@pytest.mark.parametrize('seed', range(10))
def test_the_arm_reaches_from_outside_over_the_mattress(seed):
    scene = build_bed(BedConfig(), np.random.default_rng(seed))
    vertices, faces = caregiver_arm(scene, np.random.default_rng(seed))
    assert faces.max() == len(vertices) - 1
    across = np.abs(vertices[:, 1])
    assert across.max() > scene.width / 2
    assert across.min() < scene.width / 2 - 0.05
    inside = across < scene.width / 2
    assert 0.07 < vertices[inside, 2].min() < 0.5
    assert np.ptp(vertices, axis=0).max() < UPPER_ARM + FOREARM + HAND + 0.15


@pytest.mark.parametrize('seed', range(5))
def test_in_a_crib_the_arm_passes_above_the_bars(seed):
    scene = build_crib(CribConfig(), np.random.default_rng(seed))
    vertices, _ = caregiver_arm(scene, np.random.default_rng(seed))
    bars = scene.vertices[np.abs(np.abs(scene.vertices[:, 1]) - scene.width / 2 - 0.02) < 0.015, 2].max()
    crossing = np.abs(np.abs(vertices[:, 1]) - scene.width / 2 - 0.02) < 0.03
    assert vertices[crossing, 2].min() > bars


def test_the_arm_is_seen_as_the_caregivers():
    scene, view = build_bed(BedConfig(), np.random.default_rng(1)), overhead_view(np.zeros(3), 2.0, 0.0, 0.0, 0.0)
    static = scene.render_static(CAMERA, (224, 224), view)
    before = SceneRender(static.depth, static.material, np.full((224, 224), -1, np.int32))
    after = add_surface(before, *caregiver_arm(scene, np.random.default_rng(1)), Material.CAREGIVER, CAMERA, view)
    arm = after.material == Material.CAREGIVER
    assert 200 < arm.sum() < 5000
    assert (after.depth[arm] < static.depth[arm]).all()


def test_the_seed_decides_the_arm():
    scene = build_bed(BedConfig(), np.random.default_rng(1))
    first, again, other = (caregiver_arm(scene, np.random.default_rng(seed))[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
