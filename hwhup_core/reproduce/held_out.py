"""Held-out people of a table: kept on disk beside their truth, and scored in the crop of their labelled joints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from numpy import ndarray
from torch import nn

from hwhup_core.body.keypoint_sets import set_of_joints
from hwhup_core.body.model import BodyModel
from hwhup_core.evaluation.scores import FrameTags, LabelledKeypoints, PersonScores, concatenate, score_batch
from hwhup_core.networks.packing import InputConfig
from hwhup_core.training.adapt import still_transform
from hwhup_core.training.batches import Crops, LabelledBatch, WeakBatch, draw_labelled, draw_weak
from hwhup_core.training.domain_pools import TestPool
from hwhup_core.training.pools import LabelledPool, WeakPool, load_pool, save_pool
from hwhup_core.training.weak_step import predict

BATCH = 64


def save_test_pool(folder: Path, pool: TestPool) -> None:
    """Write the three files of a held-out pool; `truth.npz` appears last."""
    folder.mkdir(parents=True, exist_ok=True)
    save_pool(folder / 'weak.npz', pool.weak)
    np.save(folder / 'postures.npy', pool.postures)
    save_pool(folder / 'truth.npz', pool.truth)


def load_test_pool(folder: Path) -> TestPool:
    """Return the held-out pool in a folder."""
    postures = np.load(folder / 'postures.npy', allow_pickle=False)
    return TestPool(load_pool(folder / 'weak.npz', WeakPool), load_pool(folder / 'truth.npz', LabelledPool), postures)


def held_out_batch(pool: TestPool, places: Int[ndarray, ' b'], inputs: InputConfig) -> tuple[WeakBatch, LabelledBatch]:
    """
    Return what is scored and its truth, in the same crops: 1.2 times the labelled joints, upright (method 1.5).

    The box is that of the labels, which a detector would have to find.
    """
    rngs = [np.random.default_rng(int(place)) for place in places]
    weak = draw_weak(pool.weak, places, rngs, still_transform, Crops(inputs))
    labels = pool.weak.labels
    boxes = iter([still_transform(labels.keypoints[i][labels.confidence[i] > 0], rngs[0]) for i in places])
    return weak, draw_labelled(pool.truth, places, rngs, lambda points, rng: next(boxes), Crops(inputs))


def score_pool(
    network: nn.Module, body: BodyModel, inputs: InputConfig, pool: TestPool, scored: Sequence[str] = ()
) -> PersonScores:
    """
    Return the scores of all held-out frames; depth and mask to compare with are exact and uncovered.

    PCK and PCKh are about the joints named in `scored`; without names about those that were labelled.
    """
    chosen = torch.tensor([name in scored for name in pool.truth.joints])
    network.eval()
    device = next(network.parameters()).device
    parts = []
    for start in range(0, len(pool.weak), BATCH):
        places = np.arange(start, min(start + BATCH, len(pool.weak)))
        weak, truth = held_out_batch(pool, places, inputs)
        weak, truth = weak.to(device), truth.to(device)
        observed = weak.observation
        assert observed.depth is not None
        assert observed.mask is not None
        with torch.no_grad():
            predicted = predict(network, weak.images, bfloat16=False)
        counted = chosen.to(device).expand(len(places), -1) if scored else observed.confidence > 0
        named = LabelledKeypoints(truth.keypoints, counted, set_of_joints(pool.truth.joints))
        tags = frame_tags(pool, places)
        parts.append(
            score_batch(predicted, body, truth.pinhole, observed.depth, observed.mask, truth.params, named, tags)
        )
    return concatenate(parts)


def frame_tags(pool: TestPool, places: Int[ndarray, ' b']) -> FrameTags:
    """Return where the frames come from, read from their names `subject/cover/number`."""
    subjects, covers, numbers = zip(*(pool.weak.names[place].split('/') for place in places))
    return FrameTags(
        np.array([int(subject) for subject in subjects]),
        np.array([int(number) for number in numbers]),
        np.array(covers),
        pool.postures[places],
    )


def some_of(pool: TestPool, count: int) -> TestPool:
    """Return about `count` frames spread evenly over the pool."""
    places = np.unique(np.linspace(0, len(pool.weak) - 1, min(count, len(pool.weak))).round().astype(int))

    weak, truth = pool.weak, pool.truth
    names = tuple(weak.names[place] for place in places)
    return TestPool(
        WeakPool(weak.pictures[places], weak.labels[places], weak.joints, names),
        LabelledPool(truth.pictures[places], truth.labels[places], truth.joints, names),
        pool.postures[places],
    )
