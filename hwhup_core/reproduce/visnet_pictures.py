"""Held-out people of VisNet: the true joints beside the predicted ones, green where seen and red where hidden."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray

from hwhup_core.networks.packing import IMAGENET_MEAN, IMAGENET_STD, InputConfig, Modality
from hwhup_core.reproduce.visnet import Scored
from hwhup_core.training.visnet_batches import draw_people, still_view

EACH = 3
"""People of each domain."""
SIDE = 224
JPEG_QUALITY = 88
_SEEN, _HIDDEN = (40, 200, 40), (225, 30, 40)


def write_pictures(scored: list[Scored], file: Path) -> None:
    """Write a row a domain and network; people are picked evenly by number, not by how well they were judged."""
    rows = [_title('left: truth, right: VisNet. green: seen, red: hidden', 2 * EACH * SIDE)]
    for each in scored:
        for domain, name in enumerate(each.source.domains):
            rows.append(_title(f'{each.name}, {name.replace("_", ", ")}', 2 * EACH * SIDE))
            members = np.flatnonzero(each.answers.domains == domain)
            places = members[((np.arange(EACH) + 0.5) / EACH * len(members)).astype(int)]
            rows.append(np.concatenate([_pair(each, int(place)) for place in places], axis=1))
    sheet = cv2.cvtColor(np.concatenate(rows), cv2.COLOR_RGB2BGR)
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), sheet, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])


def _pair(scored: Scored, place: int) -> UInt8[ndarray, 'h w 3']:
    """Return one person twice: with the truth, and with what the network says."""
    answers, inputs = scored.answers, scored.card.input
    batch = draw_people(scored.source, np.array([place]), [np.random.default_rng(0)], still_view, inputs, gain=0.0)
    crop = _picture(batch.images[0].numpy(), inputs)
    labelled = answers.labelled[place]
    true = _with_joints(crop, answers.truth[place], answers.flags[place] == 2, labelled)
    said = _with_joints(crop, answers.keypoints[place], answers.logits[place] > 0, labelled)
    return np.concatenate([true, said], axis=1)


def _picture(packed: Float[ndarray, '3 s s'], inputs: InputConfig) -> UInt8[ndarray, 'h w 3']:
    """Return what the network read, in colour or as grey heights, at the sheet's size."""
    if inputs.modalities == (Modality.RGB,):
        shown = packed.transpose(1, 2, 0) * IMAGENET_STD + IMAGENET_MEAN
    else:
        shown = 0.5 + packed.transpose(1, 2, 0) / (2 * inputs.depth_limit)
    small = (255 * np.clip(shown, 0, 1)).astype(np.uint8)
    return np.asarray(cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR))


def _with_joints(
    crop: UInt8[ndarray, 'h w 3'],
    keypoints: Float[ndarray, '17 2'],
    seen: Bool[ndarray, '17'],
    labelled: Bool[ndarray, '17'],
) -> UInt8[ndarray, 'h w 3']:
    """Return a copy with a dot a labelled joint."""
    drawn = crop.copy()
    for (x, y), is_seen in zip((keypoints[labelled] + 1) * SIDE / 2, seen[labelled]):
        center = int(x), int(y)
        cv2.circle(drawn, center, 5, (255, 255, 255), -1, cv2.LINE_AA)
        cv2.circle(drawn, center, 4, _SEEN if is_seen else _HIDDEN, -1, cv2.LINE_AA)
    return drawn


def _title(text: str, width: int) -> UInt8[ndarray, 'h w 3']:
    strip = np.full((22, width, 3), 255, np.uint8)
    cv2.putText(strip, text, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return strip
