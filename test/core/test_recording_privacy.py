"""Privacy: no head that can be told apart reaches the disk."""

import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from hwhup_core.body.joints import SMPL_24, index
from hwhup_core.body.model import load_body
from hwhup_core.recording.privacy import CELLS, MARGIN, REACH_M, blur_disc, head_disc, protected
from hwhup_core.types import BodyParams, State

# pytest's import mode leaves sys.path alone.
sys.path.insert(0, str(Path(__file__).parent))

from recording_frames import estimate_of, make_frame

HEAD, NECK = index('head', SMPL_24), index('neck', SMPL_24)


def test_each_choice_stores_what_it_says():
    frame = make_frame()
    estimate = estimate_of(frame)
    assert protected(frame, [estimate], 'full') is frame
    assert protected(frame, [estimate], 'no_color').color is None
    blurred = protected(frame, [estimate], 'head_blurred')
    assert blurred.depth is frame.depth
    (x, y), radius = head_disc(estimate)
    rows, columns = np.nonzero((blurred.color != frame.color).any(axis=2))
    assert np.hypot(columns + 0.5 - x, rows + 0.5 - y).max() <= radius
    assert len(rows) > 0.9 * np.pi * radius**2


@pytest.mark.parametrize('state', [State.LOW_CONFIDENCE, State.NO_PERSON, State.STALE])
def test_without_a_sure_head_there_is_no_colour(state):
    frame = make_frame()
    sure = estimate_of(frame)
    unsure = replace(sure, state=state)
    for estimates in ([], [unsure], [sure, unsure]):
        kept = protected(frame, estimates, 'head_blurred')
        assert kept.color is None
        assert kept.depth is frame.depth


@pytest.mark.parametrize('field', ['joint_pixels', 'joint_positions', 'camera'])
def test_an_unknown_number_is_no_sure_head(field):
    frame = make_frame()
    estimate = estimate_of(frame)
    unknown = replace(estimate, **{field: np.full_like(getattr(estimate, field), np.nan)})
    assert protected(frame, [unknown], 'head_blurred').color is None


def test_every_head_is_blurred():
    frame = make_frame()
    one, other = estimate_of(frame), estimate_of(frame, head=(15.0, 60.0), neck=(20.0, 60.0))
    both = protected(frame, [one, other], 'head_blurred').color
    for x, y in ((48, 20), (15, 60)):
        window = np.s_[y - 3 : y + 3, x - 3 : x + 3]
        assert (both[window] != frame.color[window]).any(axis=2).mean() > 0.9


def test_the_radius_by_hand_and_from_above():
    """10 pixels from neck to head and 50 pixels a metre; from above the 0.3 m in space count."""
    frame = make_frame()
    estimate = estimate_of(frame)
    assert head_disc(estimate) == ((48.0, 20.0), pytest.approx(MARGIN * (10 + 50 * REACH_M)))
    positions = estimate.joint_positions.copy()
    positions[HEAD, 2] -= 0.3
    above = replace(estimate_of(frame, neck=(48.0, 20.0)), joint_positions=positions)
    assert head_disc(above)[1] == pytest.approx(MARGIN * (15 + 50 * REACH_M))


@pytest.mark.parametrize('body_id', ['infant', 'adult'])
def test_the_disc_covers_the_head_of_a_body(body_id):
    """From the front and from above, at 100 pixels a metre."""
    body = load_body(body_id)
    straight = BodyParams(torch.eye(3)[None], torch.eye(3).expand(1, 23, 3, 3), torch.zeros(1, 10))
    posed = body(straight)
    joints, vertices = posed.joints[0].double().numpy(), posed.vertices[0].double().numpy()
    up = (joints[HEAD] - joints[NECK]) / np.linalg.norm(joints[HEAD] - joints[NECK])
    chin = (joints[HEAD] - joints[NECK]) @ up * 0.3
    head = vertices[(vertices - joints[HEAD]) @ up > -chin]
    for axes in ((0, 1), (0, 2)):
        pixels = 100 * joints[:, axes]
        estimate = replace(
            estimate_of(make_frame()), joint_positions=joints, joint_pixels=pixels, camera=np.float32([2, 0, 0])
        )
        center, radius = head_disc(estimate)
        assert np.linalg.norm(100 * head[:, axes] - center, axis=1).max() < radius


def test_the_disc_holds_but_a_few_colours():
    """Whatever the picture, no more cells than are promised remain; the rest is untouched, and so is the input."""
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (200, 200, 3), dtype=np.uint8)
    before = picture.copy()
    blurred = blur_disc(picture, (100.0, 90.0), 60.0)
    np.testing.assert_array_equal(picture, before)
    rows, columns = np.mgrid[:200, :200] + 0.5
    inside = np.hypot(columns - 100, rows - 90) <= 60
    assert len(np.unique(blurred[inside], axis=0)) <= CELLS**2
    np.testing.assert_array_equal(blurred[~inside], picture[~inside])


@pytest.mark.parametrize('center', [(0.0, 0.0), (96.0, 72.0), (-5.0, 30.0)])
def test_a_disc_at_the_edge(center):
    picture = make_frame().color
    blurred = blur_disc(picture, center, 12.0)
    assert blurred.shape == picture.shape
    assert (blurred != picture).any()


def test_a_disc_outside_changes_nothing():
    picture = make_frame().color
    np.testing.assert_array_equal(blur_disc(picture, (-40.0, -40.0), 12.0), picture)


def test_a_blurred_face_cannot_be_matched():
    """The blurred pictures of two faces are nearer to each other than a face is to its blurred picture."""
    rng = np.random.default_rng(1)
    faces = [cv2.GaussianBlur(rng.integers(0, 256, (100, 100, 3), dtype=np.uint8), (0, 0), 2.0) for _ in range(2)]
    blurred = [blur_disc(face, (50.0, 50.0), 70.0).astype(float) for face in faces]
    assert np.abs(blurred[0] - blurred[1]).mean() < np.abs(blurred[0] - faces[0]).mean()
