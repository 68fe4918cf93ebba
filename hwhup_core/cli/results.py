"""`BodyEstimate` -> files for people and programs: JSON and mesh."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from hwhup_core.body.joints import SMPL_24
from hwhup_core.types import BodyEstimate, Intrinsics

MESH_FRAME = 'x right, y up, z towards the camera, metres, origin at the camera'


def estimate_to_json(estimate: BodyEstimate) -> dict[str, Any]:
    """
    Return every field as JSON types: arrays as lists, states by name, unknown numbers (NaN) as null.

    Pixels count from the centre of the first one, as in the messages and in `intrinsics_to_json`.
    """
    box = replace(estimate.box, center_x=estimate.box.center_x - 0.5, center_y=estimate.box.center_y - 0.5)
    shifted = replace(estimate, box=box, joint_pixels=estimate.joint_pixels - 0.5)
    return {name: _plain(value) for name, value in asdict(shifted).items()} | {'joint_names': list(SMPL_24)}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write strict JSON (no NaN)."""
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + '\n')


def intrinsics_to_json(intrinsics: Intrinsics) -> dict[str, Any]:
    """Return the camera in the convention of camera files: 0 is the centre of the first pixel."""
    entries = asdict(intrinsics)
    return entries | {'cx': intrinsics.cx - 0.5, 'cy': intrinsics.cy - 0.5, 'distortion': list(intrinsics.distortion)}


def write_mesh(path: Path, vertices: Float[ndarray, 'v 3'], faces: Int[ndarray, 'f 3']) -> None:
    """Write a GLB or OBJ, by the suffix, in the frame such viewers expect (see `MESH_FRAME`)."""
    import trimesh

    turned = vertices * np.array([1.0, -1.0, -1.0])
    trimesh.Trimesh(turned, faces, process=False).export(str(path))


def _plain(value: Any) -> Any:
    if isinstance(value, IntEnum):
        return value.name.lower()
    if isinstance(value, ndarray):
        return [_plain(entry) for entry in value.tolist()]
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
