"""
The paper's tables on official files: what each needs, whether it is there, its run and its results.

What was measured on official files says `official` in the file's name, in the title and in the field `data`; stand-ins
say `synthetic`. The two never meet in one file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwhup_core.config_io import load_config, save_config, to_plain
from hwhup_core.errors import AssetError, HwhupError
from hwhup_core.networks.card import running_commit
from hwhup_core.reproduce import official_infants, official_slp, official_upright, paper
from hwhup_core.reproduce.official_start import OFFICIAL, OfficialConfig, missing
from hwhup_core.reproduce.results import with_interval
from hwhup_core.settings import setting


@dataclass(frozen=True)
class OfficialTable:
    """One table on official files."""

    title: str
    data: tuple[str, ...]
    """Settings of data sets, of which at least one must be there."""
    assets: Callable[[], tuple[str, ...]]
    """Official files that are needed for what is there."""
    run: Callable[[OfficialConfig, Path], dict[str, Any]]
    paper: Mapping[str, Any]
    """What the paper has."""
    folder: str
    """Name of the working folder; tables of the same networks share one."""


OFFICIAL_TABLES: Mapping[str, OfficialTable] = {
    'table1': OfficialTable(
        'Table 1, ablation on SLP', official_slp.NEEDED_DATA, lambda: official_slp.NEEDED_ASSETS, official_slp.table1,
        paper.TABLE1_DEPTH_MM, 'table1',
    ),
    'table2': OfficialTable(
        'Table 2, modalities under covers on SLP', official_slp.NEEDED_DATA, lambda: official_slp.NEEDED_ASSETS,
        official_slp.modalities, paper.TABLE2_DEPTH_MM, 'table2',
    ),
    'tableS1': OfficialTable(
        'Table S1, PCK@0.2 on SLP', official_slp.NEEDED_DATA, lambda: official_slp.NEEDED_ASSETS,
        official_slp.modalities, paper.TABLE_S1_PCK, 'table2',
    ),
    'table3': OfficialTable(
        'Table 3, Human3.6M and 3DPW', ('data.h36m', 'data.3dpw'), official_upright.needed_assets,
        official_upright.table3, paper.TABLE3_MM, 'table3',
    ),
    'tableS2': OfficialTable(
        'Table S2, Human3.6M by action', ('data.h36m',), official_upright.needed_assets, official_upright.table3,
        paper.TABLE_S2_MM, 'table3',
    ),
    'table4': OfficialTable(
        'Table 4, infants', ('data.mimm', 'data.syrip'), lambda: official_infants.NEEDED_ASSETS,
        official_infants.table4, paper.TABLE4_DEPTH_MM, 'table4',
    ),
}  # fmt: skip


def is_configured(table: str) -> bool:
    """Return whether official data for this table were pointed at."""
    return table in OFFICIAL_TABLES and any(setting(key) is not None for key in OFFICIAL_TABLES[table].data)


def require_all(table: str) -> None:
    """Refuse a run that lacks something, naming all of it at once with how to get it."""
    wanted = OFFICIAL_TABLES[table]
    data = () if is_configured(table) else wanted.data
    lines = missing(data, wanted.assets())
    if lines:
        either = ' (one of the data sets will do)' if len(data) > 1 else ''
        raise AssetError(
            f'{wanted.title} on official files needs{either}:\n  ' + '\n  '.join(lines) + '\nOr run the stand-in: '
            f'hwhup reproduce {table} --data synthetic'
        )


def run_official(table: str, config: OfficialConfig, run: Path | None, command: str) -> dict[str, Any]:
    """Return the results of a table on official files; a folder `run` of a stopped run goes on."""
    require_all(table)
    wanted = OFFICIAL_TABLES[table]
    run = run or Path('runs') / f'{wanted.folder}-{config.suffix}'
    _claim(config, run)
    return {
        'table': f'{table}-{config.suffix}',
        'title': wanted.title,
        'data': OFFICIAL,
        'data_sets': [key for key in wanted.data if setting(key) is not None],
        'paper': to_plain(dict(wanted.paper)),
        'ours': wanted.run(config, run),
        'command': command,
        'seed': config.seed,
        'commit': running_commit(),
        'config': to_plain(config),
    }


def _claim(config: OfficialConfig, run: Path) -> None:
    run.mkdir(parents=True, exist_ok=True)
    file = run / 'config.yaml'
    if file.exists() and load_config(file, OfficialConfig) != config:
        raise HwhupError(f'{run} holds a table of another configuration, see {file}. Choose another folder with --run.')
    save_config(file, config)


def markdown(results: Mapping[str, Any]) -> str:
    """Return the results for people: ours, row by row, then the paper's figures apart from them."""
    ours = results['ours']
    kept = _measured(results['table'], ours)
    lines = [
        f'# {results["title"]} (data: {results["data"]})',
        '',
        f'Measured on {", ".join(results["data_sets"])}, with SPIN\'s network from its published weights. Intervals '
        'are 95 %. Figures of the paper stand in their own table.',
        '',
        '| where | metric | ours | frames |',
        '|---|---|---|---|',
        *(f'| {" / ".join(place)} | {metric} | {_cell(figure)} | {figure.get("frames", "")} |'
          for place, metric, figure in _rows(kept)),
        '',
        '| paper | figure |',
        '|---|---|',
        *(f'| {" / ".join(place)} | {"not given" if value is None else value} |'
          for place, value in _leaves(results['paper'])),
        '',
        *(f'- {note}' for note in ours.get('notes', ())),
        *(f'- left out, {reason}: {count}' for reason, count in ours.get('left_out', {}).items()),
        '',
        f'Made by `{results["command"]}`, seed {results["seed"]}, commit {results["commit"] or "unknown"}.',
        '',
    ]  # fmt: skip
    return '\n'.join(lines)


def _measured(table: str, ours: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the figures that a table is about."""
    if table.startswith('tableS2'):
        return dict(ours['actions'])
    return dict(ours.get('cells') or ours['columns'])


def _rows(
    figures: Mapping[str, Any], place: Sequence[str] = ()
) -> list[tuple[tuple[str, ...], str, Mapping[str, Any]]]:
    """Return place, metric and figure of everything that has a mean."""
    rows: list[tuple[tuple[str, ...], str, Mapping[str, Any]]] = []
    for name, value in figures.items():
        if isinstance(value, Mapping) and 'mean' in value:
            rows.append((tuple(place), name, value))
        elif isinstance(value, Mapping):
            rows += _rows(value, (*place, name))
        elif name in ('mpjpe_mm', 'pa_mpjpe_mm'):
            rows.append((tuple(place), name, {'mean': value}))
    return rows


def _cell(figure: Mapping[str, Any]) -> str:
    if figure['mean'] is None:
        return 'nothing to compare'
    if figure.get('low') is None:
        return f'{figure["mean"]:.1f}'
    return with_interval(figure, 3 if figure['mean'] < 2 else 1)


def _leaves(figures: Mapping[str, Any], place: Sequence[str] = ()) -> list[tuple[tuple[str, ...], Any]]:
    """Return every figure with its place."""
    found: list[tuple[tuple[str, ...], Any]] = []
    for name, value in figures.items():
        found += _leaves(value, (*place, name)) if isinstance(value, Mapping) else [((*place, name), value)]
    return found
