"""Area under the ROC curve: by hand, against counting pairs, and its interval."""

import numpy as np
import pytest

from hwhup_core.evaluation.auc import auc_interval, roc_auc


def naive(scores, labels):
    wins = [
        1.0 if positive > negative else 0.5 if positive == negative else 0.0
        for positive in scores[labels]
        for negative in scores[~labels]
    ]
    return sum(wins) / len(wins)


@pytest.mark.parametrize(
    ('scores', 'labels', 'area'),
    [
        ([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1], 0.75),  # Of four pairs one is the wrong way round.
        ([1.0, 2.0, 3.0], [0, 1, 1], 1.0),
        ([3.0, 2.0, 1.0], [0, 1, 1], 0.0),
        ([5.0, 5.0, 5.0, 5.0], [0, 1, 0, 1], 0.5),
        ([1.0, 2.0, 2.0, 3.0], [0, 0, 1, 1], 0.875),  # One tie in four pairs.
    ],
)
def test_by_hand(scores, labels, area):
    assert roc_auc(np.array(scores), np.array(labels, bool)) == pytest.approx(area)


def test_against_all_pairs():
    rng = np.random.default_rng(0)
    for count in (2, 7, 60):
        scores = rng.integers(0, 8, count).astype(float)  # Many ties.
        labels = rng.random(count) < 0.4
        labels[:2] = True, False
        assert roc_auc(scores, labels) == pytest.approx(naive(scores, labels))


def test_turns_round_with_the_sign_and_ignores_the_scale():
    rng = np.random.default_rng(1)
    scores, labels = rng.standard_normal(50), rng.random(50) < 0.5
    area = roc_auc(scores, labels)
    assert roc_auc(np.exp(3 * scores), labels) == pytest.approx(area)
    assert roc_auc(-scores, labels) == pytest.approx(1 - area)


def test_is_not_a_number_without_both_kinds_or_with_a_score_that_is_none():
    scores = np.array([1.0, 2.0])
    assert np.isnan(roc_auc(scores, np.array([True, True])))
    assert np.isnan(roc_auc(np.array([1.0, np.nan]), np.array([True, False])))
    assert np.isnan(auc_interval(scores, np.array([True, True]), np.array([1, 2])).low)


def test_interval_is_over_clusters():
    rng = np.random.default_rng(2)
    labels = rng.random(400) < 0.5
    scores = labels + rng.standard_normal(400)
    many = auc_interval(scores, labels, np.arange(400))
    assert many.low < many.mean < many.high
    assert many.mean == pytest.approx(roc_auc(scores, labels))
    # The same frames ten times over say no more, if they are of the same subjects.
    copied = auc_interval(np.tile(scores, 10), np.tile(labels, 10), np.tile(np.arange(400), 10))
    assert copied.high - copied.low == pytest.approx(many.high - many.low, rel=1e-9)
    apart = auc_interval(np.tile(scores, 10), np.tile(labels, 10), np.arange(4000))
    assert apart.high - apart.low < 0.5 * (many.high - many.low)
    assert np.isnan(auc_interval(scores, labels, np.zeros(400, int)).low)
