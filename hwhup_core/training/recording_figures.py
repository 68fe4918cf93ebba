"""Pictures of held-out frames for the report: what the weights said before and after, from the front and the side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray

from hwhup_core.body.model import BodyModel
from hwhup_core.evaluation.page import PANEL, Shown, write_sheet
from hwhup_core.geometry.crops import crop_depth, crop_image
from hwhup_core.geometry.rotations import axis_angle_to_matrix
from hwhup_core.inference.engine import Engine
from hwhup_core.training.observe import in_box, wide_box
from hwhup_core.training.recording_pools import Observed
from hwhup_core.training.recording_scores import answer
from hwhup_core.types import (
    BodyEstimate,
    BodyParams,
    CropPinhole,
    PersonBox,
    Prediction,
    State,
    WeakPerspective,
)

SHEET = 'held_out.png'
ROWS = 6
MARGIN = 1.7
"""Side of the pictures in extents of the labelled joints."""


def write_pictures(
    run: Path, engines: Sequence[tuple[str, Engine]], frames: Iterable[tuple[str, Observed]]
) -> tuple[tuple[str, str], ...]:
    """Write one sheet of these frames with the answers of the named engines; returns captions and file names."""
    rows = [_shown(name, observed, engines) for name, observed in frames]
    if not rows:
        return ()
    write_sheet(run / SHEET, rows, engines[0][1].body)
    names = ' and '.join(name for name, _ in engines)
    return ((f'Input, then {names}: over it, and from the side in the measured points (green: within 3 cm)', SHEET),)


def _shown(name: str, observed: Observed, engines: Sequence[tuple[str, Engine]]) -> Shown:
    frame, camera = observed.frame, observed.intrinsics
    box = wide_box(observed.named.joints.pixels, MARGIN)
    half = box.side / 2
    center = in_box(np.array([[camera.cx, camera.cy]]), box)
    pinhole = CropPinhole(torch.tensor([camera.fx / half]).float(), torch.from_numpy(center).float())
    assert frame.depth is not None
    return Shown(
        image=_picture(observed, box),
        depth=crop_depth(frame.depth, box, PANEL),
        pinhole=pinhole,
        predictions=[(word, _prediction(answer(engine, frame), engine.body, pinhole)) for word, engine in engines],
        title=f'frame {name}',
    )


def _picture(observed: Observed, box: PersonBox) -> UInt8[ndarray, 's s 3'] | None:
    """Return the crop in colour or infrared; None where there is depth alone."""
    frame = observed.frame
    if frame.color is not None:
        return np.asarray(crop_image(frame.color, box, PANEL), np.uint8)
    if frame.infrared is None:
        return None
    grey = crop_image(frame.infrared, box, PANEL)
    return np.repeat((255 * np.clip(grey, 0, 1)).astype(np.uint8)[..., None], 3, axis=2)


def _prediction(estimate: BodyEstimate, body: BodyModel, pinhole: CropPinhole) -> Prediction:
    """Return an estimate as the prediction in a crop that places the same body at the same point."""
    if estimate.state == State.NO_PERSON:
        return _nobody()
    rotations = axis_angle_to_matrix(torch.from_numpy(estimate.pose.astype(np.float32).reshape(1, 24, 3)))
    params = BodyParams(rotations[:, 0], rotations[:, 1:], torch.from_numpy(estimate.betas.astype(np.float32)[None]))
    with torch.no_grad():
        origin = torch.from_numpy(estimate.root_position).float()[None] - body.skeleton(params).joints[:, 0]
    scale = pinhole.focal / origin[:, 2]
    return Prediction(params, WeakPerspective(scale, origin[:, :2] + pinhole.center / scale[:, None]))


def _nobody() -> Prediction:
    rotations = torch.eye(3).expand(1, 24, 3, 3)
    nowhere = WeakPerspective(torch.full((1,), torch.nan), torch.full((1, 2), torch.nan))
    return Prediction(BodyParams(rotations[:, 0], rotations[:, 1:], torch.zeros(1, 10)), nowhere)
