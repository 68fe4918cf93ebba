"""
Table 1 again, where truth is known: one start, every ablation, and an oracle that is shown the target's 3D.

Everything lies in the run's folder and is made once: pools, start, static fits, one folder a column. A run that was
stopped goes on where it was. Columns are trained side by side, one process a core.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from hwhup_core.config_io import from_plain, to_plain
from hwhup_core.reproduce.columns import Places, pretrain, run_column, static_fits
from hwhup_core.reproduce.config import COLUMNS, ORACLE, TableConfig
from hwhup_core.reproduce.table_pools import claim, make_oracle_pool, make_source_pool, make_target_pools
from hwhup_core.training.parallel import process_pool


def run_table(config: TableConfig, run: Path, processes: int, columns: Sequence[str] = COLUMNS) -> dict[str, Path]:
    """Make what is missing of these columns in the folder `run`, and return the scores' file of each that is there."""
    places = places_in(run)
    claim(config, run)
    make_source_pool(config, run)
    make_target_pools(config, run)
    make_oracle_pool(config, run)
    pretrain(config, run)
    static_fits(config, run)
    waiting = [column for column in _in_order() if column in columns and not places.scores(column).exists()]
    if processes > 1 and len(waiting) > 1:
        with process_pool(min(processes, len(waiting))) as executor:
            list(executor.map(partial(_column, to_plain(config), run), waiting))
    else:
        for column in waiting:
            run_column(config, places, column)
    return {column: places.scores(column) for column in COLUMNS if places.scores(column).exists()}


def places_in(run: Path) -> Places:
    """Return where the parts of a Table 1 lie in its folder."""
    return Places(run, run / 'columns')


def _in_order() -> Sequence[str]:
    """Return the columns as they are trained: first those that say whether the method works, then the longest."""
    order = ('full', ORACLE, 'no_prior', 'fine_tuned', '3d_dp_vis', '3d_dp', '2d_d', 'without_loop', 'pre_trained')
    assert set(order) == set(COLUMNS)
    return order


def _column(plain: dict[str, object], run: Path, column: str) -> None:
    """Train and score one column in a process of its own, on one core."""
    torch.set_num_threads(1)
    run_column(from_plain(plain, TableConfig, 'the table'), places_in(run), column)
