"""How far another model, such as the one for colour, puts the joints from where the labels are."""

from __future__ import annotations

import math

import numpy as np

from hwhup_core.data.recording import Recording
from hwhup_core.errors import FrameError
from hwhup_core.geometry.cameras import project
from hwhup_core.geometry.crops import box_around
from hwhup_core.inference.engine import Engine
from hwhup_core.labeling.labels import FrameLabel
from hwhup_core.labeling.placed import LabelledBody

BOX_MARGIN = 1.35


def model_differences(recording: Recording, labels: dict[str, FrameLabel], engine: Engine) -> dict[str, float]:
    """
    Return the mean distance of the model's joints from the labelled ones, in sides of the person's box.

    Frames without a label, or that the model cannot read, are not in it.
    """
    body = LabelledBody(engine.body)
    found: dict[str, float] = {}
    for i, record in enumerate(recording.frames):
        label = labels.get(record.unit)
        if label is None or label.labelled.sum() < 2:
            continue
        box = box_around(np.where(label.labelled[:, None], label.pixels, np.nan), BOX_MARGIN)
        frame = recording.frame(i)
        try:
            estimate = engine(frame, [box])[0]
        except FrameError:
            continue
        if frame.intrinsics is None or not np.isfinite(estimate.joint_positions).all():
            continue
        pixels = dict(zip(body.names, project(body.placed_as(estimate).points, frame.intrinsics)))
        far = [
            math.dist(pixels[name], place)
            for name, place, known in zip(label.joints, label.pixels, label.labelled)
            if known and name in pixels
        ]
        if far:
            found[record.unit] = float(np.mean(far)) / box.side
    return found
