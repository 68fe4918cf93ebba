"""Depth scores on images that can be added up by hand."""

import math

import pytest
import torch

from hwhup_core.evaluation.depth_metrics import (
    depth_scores,
    mask_iou,
    mean_aligned_error,
    released_error_mm,
    released_mean_mm,
    skipped_frames,
)


def scene():
    """Return rendered, observed and mask of two images: four body pixels in the first, none rendered in the second."""
    rendered = torch.tensor([[[50.0, 50.0, 50.1, 50.0, 0.0]], [[0.0, 0, 0, 0, 0]]])
    observed = torch.tensor([[[2.0, 2.0, 2.0, 0.0, 2.0]], [[2.0, 2, 2, 2, 2]]])
    return rendered, observed, torch.ones(2, 1, 5, dtype=torch.bool)


def test_the_scores_by_hand():
    rendered, observed, mask = scene()
    scores = depth_scores(rendered, observed, mask)
    # Differences 48, 48, 48.1: their mean is 48.0333, their median 48.
    assert scores.mean_aligned_error[0].item() == pytest.approx((2 / 30 + 2 / 30) / 3, abs=2e-5)
    assert scores.median_aligned_error[0].item() == pytest.approx(0.1 / 3, abs=2e-5)
    # The hole adds a difference of 50: the mean is 48.525.
    assert scores.released_error_mm[0].item() == pytest.approx(1000 * (0.525 + 0.525 + 0.425 + 1.475) / 4, abs=0.02)
    assert scores.mask_iou.tolist() == pytest.approx([4 / 5, 0])
    assert scores.released_error_mm[1].item() == -1
    assert math.isnan(scores.mean_aligned_error[1])
    assert math.isnan(scores.median_aligned_error[1])


def test_the_released_mean_counts_empty_images():
    errors = released_error_mm(*scene())
    assert skipped_frames(errors) == 1
    assert released_mean_mm(errors) == pytest.approx((errors[0].item() - 1) / 2)
    assert math.isnan(released_mean_mm(errors[:0]))
    rendered, observed, _ = scene()
    assert skipped_frames(mean_aligned_error(rendered, observed, rendered > 0)) == 1
    assert skipped_frames(torch.tensor([3.0, math.nan, -1.0])) == 2


def test_without_holes_the_released_error_is_the_mean_aligned_one():
    generator = torch.Generator().manual_seed(0)
    rendered, observed = (torch.rand(3, 8, 8, dtype=torch.float64, generator=generator) + 1 for _ in range(2))
    mask = torch.rand(3, 8, 8, generator=generator) < 0.5
    scores = depth_scores(rendered, observed, mask)
    torch.testing.assert_close(scores.released_error_mm, 1000 * scores.mean_aligned_error)
    assert (scores.median_aligned_error <= scores.mean_aligned_error).all()


def test_a_constant_on_the_observed_depth_changes_no_score():
    rendered, observed, mask = (tensor[:1] for tensor in scene())
    valid = mask & (observed > 0)
    before = depth_scores(rendered.double(), observed.double(), valid)
    after = depth_scores(rendered.double(), torch.where(observed > 0, observed + 0.7, 0).double(), valid)
    for name in ('released_error_mm', 'mean_aligned_error', 'median_aligned_error', 'mask_iou'):
        torch.testing.assert_close(getattr(before, name), getattr(after, name), atol=1e-4, rtol=1e-4)


def test_an_image_of_holes_or_an_empty_mask_is_skipped():
    rendered, observed, mask = scene()
    holes = depth_scores(rendered, observed * 0, mask)
    assert skipped_frames(holes.mean_aligned_error) == skipped_frames(holes.median_aligned_error) == 2
    nothing = depth_scores(rendered, observed, mask & False)
    assert nothing.released_error_mm.tolist() == [-1, -1]
    assert nothing.mask_iou[0] == 0
    assert math.isnan(nothing.mask_iou[1])


def test_iou_by_hand():
    first = torch.tensor([[[True, True, False]]])
    second = torch.tensor([[[False, True, True]]])
    assert mask_iou(first, second).item() == pytest.approx(1 / 3)
    assert mask_iou(first, first).item() == 1


def test_inputs_are_left_as_they_are():
    images = scene()
    copies = [tensor.clone() for tensor in images]
    depth_scores(*images)
    assert all(torch.equal(image, copy) for image, copy in zip(images, copies))
