"""
Tables 1, 2 and S1 on SLP itself.

Trained on `danaLab`'s published 90 people (BodyMAP's 80), scored on the others, and on simLab where it is there. MPJPE
and PVE are against SLP-3Dfits where these are configured: fits to the depth, not motion capture, and in the depth
camera's axes, which differ from the picture's by what nobody published.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from hwhup_core.assets import find_asset
from hwhup_core.body.joints import SLP_14
from hwhup_core.body.model import load_body
from hwhup_core.data.sample import BadSamples, Gender, Sample
from hwhup_core.data.slp import read_slp
from hwhup_core.data.slp_fits import read_slp_fits, with_fits
from hwhup_core.data.slp_samples import read_slp_samples
from hwhup_core.errors import AssetError
from hwhup_core.evaluation.protocols import protocol_scores
from hwhup_core.networks.packing import InputConfig, Modality
from hwhup_core.reproduce.config import MODALITIES, MODALITY_COLUMNS
from hwhup_core.reproduce.official_scores import PoolScores, figures, pool_scores
from hwhup_core.reproduce.official_start import (
    RELEASED,
    OfficialConfig,
    Start,
    adapted,
    load_start,
    observed,
    spin_inputs,
)
from hwhup_core.settings import setting
from hwhup_core.training.pools import WeakPool
from hwhup_core.training.slp_pools import weak_pool_from_slp
from hwhup_core.training.stages import TABLE_ONE

NEEDED_DATA = ('data.slp',)
NEEDED_ASSETS = ('smpl_neutral', 'spin_checkpoint', 'gmm_08')
LAST_TRAINED = {'published': 90, 'bodymap': 80}
"""Of `danaLab`'s people, by split; all after are held out."""
LABS = ('danaLab', 'simLab')
_COVERS = ('uncover', 'cover1', 'cover2')


@dataclass(frozen=True)
class _Beds:
    """The pools of one kind of input."""

    inputs: InputConfig
    training: WeakPool
    held_out: Mapping[str, WeakPool]
    """By lab."""
    left_out: Mapping[str, int]
    """Reason -> how many."""


def table1(config: OfficialConfig, run: Path) -> dict[str, Any]:
    """Return the ablation: colour, uncovered."""
    start, fits = load_start('smpl_neutral'), _fits()
    beds = _read(config, (Modality.RGB,), ('uncover',))
    columns = {}
    for column in config.columns:
        network = adapted(start, TABLE_ONE[column], beds.inputs, beds.training, config, run / column)
        columns[column] = _scored(network, start, beds, fits)
    if find_asset('hwhup_checkpoint') is not None:
        columns[RELEASED] = _scored(start.network('hwhup_checkpoint'), start, beds, fits)
    return {'columns': columns, **_about(beds)}


def modalities(config: OfficialConfig, run: Path) -> dict[str, Any]:
    """Return Tables 2 and S1: each modality under every cover, the start, the baseline and the method."""
    start, fits = load_start('smpl_neutral'), _fits()
    cells: dict[str, Any] = {}
    about: dict[str, Any] = {}
    for modality, sensed in MODALITIES.items():
        beds = _read(config, sensed, _COVERS, simlab=Modality.PRESSURE not in sensed)
        cells[modality] = {}
        for column in MODALITY_COLUMNS:
            network = adapted(start, TABLE_ONE[column], beds.inputs, beds.training, config, run / modality / column)
            cells[modality][column] = _scored(network, start, beds, fits, by_cover=True)
        about = _about(beds)
    return {'cells': cells, **about}


def _read(config: OfficialConfig, sensed: Sequence[Modality], covers: Sequence[str], simlab: bool = True) -> _Beds:
    """Return the pools; frames that cannot be used are left out and counted."""
    root = setting('data.slp')
    assert root is not None
    there = read_slp(root).subjects
    last = LAST_TRAINED[config.split]
    parts = {'training': [s for s in there if s <= last], 'danaLab': [s for s in there if s > last]}
    if not all(parts.values()):
        raise AssetError(
            f'{root} holds subjects {there[0]} to {there[-1]} of danaLab. Expected some up to {last}, to adapt to, and '
            'some after, to score. Copy the rest.'
        )
    pools: dict[str, WeakPool] = {}
    left_out: dict[str, int] = {}
    for name, subjects in parts.items():
        pools[name], report = weak_pool_from_slp(
            root, subjects, covers, sensed, observed(config), True, workers=config.workers
        )
        left_out |= {f'{name}: {reason}': count for reason, count in report.counts().items()}
    if simlab and (root / 'simLab').is_dir():
        pools['simLab'], report = weak_pool_from_slp(
            root, None, covers, sensed, observed(config), True, 'simLab', config.workers
        )
        left_out |= {f'simLab: {reason}': count for reason, count in report.counts().items()}
    held_out = {lab: pools[lab] for lab in LABS if lab in pools}
    return _Beds(spin_inputs(sensed), pools['training'], held_out, left_out)


def _fits() -> dict[str, Sample]:
    """Return danaLab's samples with the bodies that were fitted to them, by name; none where these are not there."""
    folder, root = setting('data.slp_3dfits'), setting('data.slp')
    if folder is None or root is None:
        return {}
    bad = BadSamples(skip=True)
    dataset = with_fits(read_slp_samples(root, bad), read_slp_fits(folder, bad))
    return {sample.name: sample for sample in dataset if sample.body is not None}


def _scored(
    network: nn.Module, start: Start, beds: _Beds, fits: Mapping[str, Sample], by_cover: bool = False
) -> dict[str, Any]:
    """Return the figures of each lab, by cover if asked for."""
    found: dict[str, Any] = {}
    for lab, pool in beds.held_out.items():
        scores = pool_scores(network, beds.inputs, start.body, pool, SLP_14)
        columns = dict(scores.columns) | (_against_fits(scores, start, fits) if lab == 'danaLab' and fits else {})
        covers = np.array([name.split('/')[1] for name in scores.names])
        subjects = np.array([name.split('/')[0] for name in scores.names])
        found[lab] = figures(columns, subjects.tolist())
        if by_cover:
            found[lab] = {'all': found[lab]} | {
                str(cover): figures(
                    {k: v[covers == cover] for k, v in columns.items()}, subjects[covers == cover].tolist()
                )
                for cover in np.unique(covers)
            }
    return found


def _against_fits(scores: PoolScores, start: Start, fits: Mapping[str, Sample]) -> dict[str, np.ndarray]:
    """Return the errors against SLP-3Dfits, NaN for a frame without a fit."""
    rows = [row for row, name in enumerate(scores.names) if name in fits]
    columns = {name: np.full(len(scores.names), np.nan) for name in ('mpjpe_mm', 'pa_mpjpe_mm', 'pve_mm')}
    if rows:
        samples = [replace(fits[scores.names[row]], joints_3d=None) for row in rows]
        found = protocol_scores(scores.params[rows], samples, start.body, None, gendered())
        for name, column in columns.items():
            column[rows] = getattr(found, name)
    return columns


def gendered() -> dict[Gender, Any]:
    """Return the bodies of the assets folder that published bodies of a gender are posed with."""
    genders: tuple[Gender, ...] = ('male', 'female')
    return {gender: load_body(f'smpl_{gender}') for gender in genders if find_asset(f'smpl_{gender}') is not None}


def _about(beds: _Beds) -> dict[str, Any]:
    return {
        'trained_on': len(beds.training),
        'scored': {lab: len(pool) for lab, pool in beds.held_out.items()},
        'left_out': dict(beds.left_out),
    }
