"""PCK and PCKh on people that can be counted by hand."""

import numpy as np
import pytest

from hwhup_core.body.joints import LSP_14
from hwhup_core.errors import ConfigError
from hwhup_core.evaluation.keypoint_metrics import (
    head_size,
    hits_per_joint,
    hits_per_sample,
    mean_hits,
    pck,
    pckh,
    torso_size,
)


def people():
    """Return two labelled people whose torso is 5 and whose head is 2."""
    true = np.zeros((2, 14, 2))
    true[:, LSP_14.index('left_shoulder')] = (3, 4)
    true[:, LSP_14.index('head_top')] = (0, -2)
    return true, np.ones((2, 14), bool)


def test_sizes():
    true, _ = people()
    np.testing.assert_allclose(torso_size(true, LSP_14), 5)
    np.testing.assert_allclose(head_size(true, LSP_14), 2)


def test_hits_are_counted_by_hand():
    true, labelled = people()
    predicted = true.copy()
    predicted[0, 0, 0] += 1.0
    predicted[0, 1, 0] += 1.01
    predicted[1, 2, 1] += 4.0
    hits = pck(predicted, true, labelled, LSP_14)
    assert (hits == 0).sum() == 2
    assert mean_hits(hits) == pytest.approx(26 / 28)
    np.testing.assert_allclose(hits_per_joint(hits)[:3], [1, 0.5, 0.5])
    np.testing.assert_allclose(hits_per_sample(hits), [13 / 14, 13 / 14])
    head = pckh(predicted, true, labelled, LSP_14)
    np.testing.assert_array_equal(head, hits)
    assert mean_hits(pckh(predicted, true, labelled, LSP_14, threshold=0.4)) == pytest.approx(25 / 28)


def test_what_is_not_defined_is_left_out():
    true, labelled = people()
    labelled[0, 5] = False
    true[1] = 0
    predicted = true.copy()
    predicted[0, 0] = np.nan
    hits = pck(predicted, true, labelled, LSP_14)
    assert np.isnan(hits[0, 5])
    assert hits[0, 0] == 0
    assert np.isnan(hits[1]).all()
    assert mean_hits(hits) == pytest.approx(12 / 13)
    assert np.isnan(hits_per_sample(hits)[1])
    assert np.isnan(mean_hits(hits[1:]))


def test_inputs_are_left_as_they_are():
    true, labelled = people()
    predicted, before = true + 0.5, true.copy()
    pck(predicted, true, labelled, LSP_14)
    np.testing.assert_array_equal(true, before)
    np.testing.assert_array_equal(predicted, before + 0.5)


def test_a_set_without_a_torso_is_refused():
    with pytest.raises(ConfigError, match='left_shoulder'):
        torso_size(np.zeros((1, 1, 2)), ('nose',))
