"""Bodies written so that other SMPL tools can read them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from hwhup_core.body.files import NUM_POSE_FEATURES, BodyFile, smplx_arrays, text_entries
from hwhup_core.errors import AssetError


def to_smplx_struct(body: BodyFile) -> dict[str, ndarray]:
    """
    Return the arrays that `smplx.SMPL('', data_struct=smplx.utils.Struct(**arrays))` wants.

    smplx insists on posedirs, so a body without gets zeros.
    """
    no_pose_directions = np.zeros((len(body.template), 3, NUM_POSE_FEATURES), np.float32)
    return {'posedirs': no_pose_directions} | smplx_arrays(body)


def export_smplx(body: BodyFile, path: str | Path) -> None:
    """
    Write a body as .pkl, which smplx reads, or .npz; our own reader gives the same hash back from both.

    smplx takes the kind of model from the file name: call it `SMPL_NEUTRAL.pkl`, in a folder `smpl` for `smplx.create`.
    """
    path = Path(path)
    entries: dict[str, Any] = to_smplx_struct(body) | text_entries(body)
    if path.suffix == '.pkl':
        path.write_bytes(pickle.dumps(entries, protocol=2))
    elif path.suffix == '.npz':
        np.savez_compressed(path, **entries)
    else:
        raise AssetError(f'Cannot write a body to {path}: it ends in {path.suffix!r}. Expected .pkl or .npz.')
