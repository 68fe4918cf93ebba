"""Weights scored on people that `hwhup synth` wrote, and the pictures of some of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from hwhup_core.body.model import BodyModel
from hwhup_core.evaluation.page import Shown, write_page
from hwhup_core.evaluation.report import write_report
from hwhup_core.evaluation.scores import PersonScores
from hwhup_core.geometry.masks import PlaneConfig
from hwhup_core.networks.card import running_commit
from hwhup_core.networks.checkpoint import Loaded
from hwhup_core.networks.packing import Modality
from hwhup_core.reproduce.held_out import held_out_batch, score_pool
from hwhup_core.training.adapt import still_transform
from hwhup_core.training.domain_pools import TestPool
from hwhup_core.training.observe import ObservationConfig
from hwhup_core.training.stored_pools import StoredPeople, stored_test_pool
from hwhup_core.training.transforms import warp_picture
from hwhup_core.training.weak_step import predict

PAGE = 'evaluation.html'
SHOWN = 8
"""Frames on the page, from the best to the worst."""
PICTURE = 224
OBSERVED = ObservationConfig(plane=PlaneConfig(least_share=0.0))
"""A room has no bed to be found, and what is scored against the truth needs none."""


def score_stored(loaded: Loaded, body: BodyModel, people: StoredPeople, out: Path) -> PersonScores:
    """Score the weights on every stored frame and write `evaluation.json`, `evaluation.md` and a page of pictures."""
    pool = stored_test_pool(people, body, OBSERVED)
    for modality in loaded.card.input.modalities:
        pool.weak.pictures.of(modality)  # Refuses data without what the weights read.
    scores = score_pool(loaded.model, body, loaded.card.input, pool)
    title = f'{loaded.card.architecture} weights {loaded.card.weights_hash[:12]} on {people.poses.folder.parent.name}'
    write_report(out, scores, title, _provenance(loaded, body, people))
    write_page(out / PAGE, shown_frames(loaded, pool, scores), body, title)
    return scores


def shown_frames(loaded: Loaded, pool: TestPool, scores: PersonScores) -> list[Shown]:
    """Return frames from the smallest to the largest joint error, evenly by rank."""
    count = min(SHOWN, len(scores))
    places = np.argsort(scores.mpjpe_mm)[((np.arange(count) + 0.5) / count * len(scores)).astype(int)]
    weak, truth = held_out_batch(pool, places, loaded.card.input)
    with torch.no_grad():
        prediction = predict(loaded.model, weak.images, bfloat16=False)
    depth = weak.observation.depth
    assert depth is not None
    return [
        Shown(
            image=_color(loaded, pool, int(place)),
            depth=depth[row].numpy(),
            pinhole=truth.pinhole[row : row + 1],
            predictions=[('predicted', prediction[row : row + 1])],
            title=f'{pool.weak.names[place]}: joints {scores.mpjpe_mm[place]:.0f} mm off, pelvis on pelvis',
        )
        for row, place in enumerate(places)
    ]


def _color(loaded: Loaded, pool: TestPool, place: int) -> np.ndarray | None:
    """Return the crop in colour where the weights read colour; None shows the depth."""
    if Modality.RGB not in loaded.card.input.modalities:
        return None
    labels = pool.weak.labels
    box = still_transform(labels.keypoints[place][labels.confidence[place] > 0], np.random.default_rng(0))
    return warp_picture(pool.weak.pictures.of(Modality.RGB)[place], box, PICTURE)


def _provenance(loaded: Loaded, body: BodyModel, people: StoredPeople) -> dict[str, object]:
    return {
        'weights_hash': loaded.card.weights_hash,
        'input': loaded.card.input,
        'body': body.body_id,
        'people': people.card.config,
        'seed': people.card.seed,
        'made_by_commit': people.card.commit,
        'subjects': len(people.poses.subjects),
        'crop': 'square of 1.2 times the extent of the labelled joints, upright',
        'commit': running_commit(),
    }
