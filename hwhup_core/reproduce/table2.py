"""
Tables 2 and S1 again: each modality under every cover, supervised by 2D joints and the depth without cover.

All modalities share the pools, one fit a pose and one start, which reads depth. The paper starts all of them from
SPIN's colour weights; so in both a network has to learn what infrared and pressure look like from weak labels alone.
A run that was stopped goes on where it was; networks are trained side by side, one process a core.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from hwhup_core.config_io import from_plain, to_plain
from hwhup_core.reproduce.columns import Places, pretrain, run_column, static_fits
from hwhup_core.reproduce.config import MODALITIES, MODALITY_COLUMNS, TableConfig
from hwhup_core.reproduce.table_pools import claim, make_source_pool, make_target_pools
from hwhup_core.training.parallel import process_pool

Cell = tuple[str, str]
"""Modality and column."""
CELLS: Sequence[Cell] = tuple((modality, column) for modality in MODALITIES for column in MODALITY_COLUMNS)


def run_modalities(config: TableConfig, run: Path, processes: int) -> dict[Cell, Path]:
    """Make what is missing in the folder `run`, and return the file of scores of each modality and column."""
    claim(config, run)
    make_source_pool(config, run)
    make_target_pools(reading(config, 'combined'), run)
    pretrain(config, run)
    static_fits(config, run)
    waiting = [cell for cell in _in_order() if not modality_places(run, cell[0]).scores(cell[1]).exists()]
    if processes > 1 and len(waiting) > 1:
        with process_pool(min(processes, len(waiting))) as executor:
            list(executor.map(partial(_train_cell, to_plain(config), run), waiting))
    else:
        for modality, column in waiting:
            run_column(reading(config, modality), modality_places(run, modality), column)
    return {(modality, column): modality_places(run, modality).scores(column) for modality, column in CELLS}


def reading(config: TableConfig, modality: str) -> TableConfig:
    """Return the configuration for networks that read this modality of the table."""
    return replace(config, inputs=replace(config.inputs, modalities=MODALITIES[modality]))


def modality_places(run: Path, modality: str) -> Places:
    """Return where the parts of one modality lie in the run's folder."""
    return Places(run, run / 'columns' / modality)


def _in_order() -> Sequence[Cell]:
    """Return the cells as they are trained: a modality's method beside its baseline, what takes no training at last."""
    return sorted(CELLS, key=lambda cell: cell[1] == 'pre_trained')


def _train_cell(plain: dict[str, object], run: Path, cell: Cell) -> None:
    """Train and score one network in a process of its own, on one core."""
    torch.set_num_threads(1)
    modality, column = cell
    config = reading(from_plain(plain, TableConfig, 'the table'), modality)
    run_column(config, modality_places(run, modality), column)
