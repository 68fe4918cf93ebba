"""`hwhup reproduce`: run a table or an adaptation, write its results, print them. One function a name in `TABLES`."""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwhup_core.errors import ConfigError

if TYPE_CHECKING:
    from hwhup_core.reproduce.config import TableConfig


@dataclass(frozen=True)
class Request:
    """What the command line says; each table reads what concerns it."""

    size: str
    input: str
    """What the network reads, where the table leaves that open."""
    run: Path | None
    """Working folder; None: `runs/` and the name of the results."""
    out: Path
    """Folder of the results."""
    processes: int
    """Networks trained side by side."""
    columns: str
    """`all`, or `few` of Table 1's."""
    config: Path
    """YAML file of `crib-rgb`."""
    data: str = 'auto'
    """`official` files, `synthetic` people, or `auto`: official ones where `hwhup config` knows the data set."""
    split: str = 'published'
    """Of SLP, for official files: `published` or `bodymap`."""


def request_from(arguments: argparse.Namespace) -> Request:
    """Return the request of the parsed command line, or refuse it."""
    if arguments.processes < 1:
        raise ConfigError(f'--processes is {arguments.processes}. Expected at least 1.')
    return Request(**{field.name: getattr(arguments, field.name) for field in fields(Request)})


def reproduce(table: str, request: Request) -> int:
    """Run what has this name and return the exit code."""
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    if table in ON_OFFICIAL_FILES and request.data != 'synthetic':
        from hwhup_core.reproduce.official import is_configured

        if request.data == 'official' or is_configured(table):
            return _official(table, request)
    return TABLES[table](request)


def _table1(request: Request) -> int:
    """Run the table of that size and input, and write `table1-<size>.json`, `.md` and the pictures."""
    from hwhup_core.evaluation.scores import load_scores
    from hwhup_core.networks.packing import Modality
    from hwhup_core.reproduce.config import COLUMNS, NEEDED, SIZES
    from hwhup_core.reproduce.pictures import write_pictures
    from hwhup_core.reproduce.results import markdown, table
    from hwhup_core.reproduce.table1 import run_table

    config = SIZES[request.size]
    config = replace(config, inputs=replace(config.inputs, modalities=(Modality(request.input),)))
    run = request.run or Path('runs') / config.name
    start = time.monotonic()
    files = run_table(config, run, request.processes, COLUMNS if request.columns == 'all' else NEEDED)
    command = f'hwhup reproduce table1 --size {request.size}'
    command += '' if request.input == 'depth' else f' --input {request.input}'
    command += '' if request.columns == 'all' else f' --columns {request.columns}'
    results = table(config, {column: load_scores(file) for column, file in files.items()}, command)
    _write_table(request, results, markdown(results))
    write_pictures(config, run, request.out)
    _say_written(request.out / config.name, '.json, .md and .jpg', start)
    return 0


def _table2(request: Request) -> int:
    """Run every modality under every cover, and write `table2-<size>.json`, `.md` and the pictures."""
    from hwhup_core.reproduce.modality_pictures import write_modality_pictures
    from hwhup_core.reproduce.modality_results import markdown_table2

    start = time.monotonic()
    config, run, results = _modalities('table2', request)
    _write_table(request, results, markdown_table2(results))
    write_modality_pictures(config, run, request.out, results['table'])
    _say_written(request.out / results['table'], '.json, .md and .jpg', start)
    return 0


def _table_s1(request: Request) -> int:
    """Write `tableS1-<size>.json` and `.md` from the networks of Table 2, which are trained if they are missing."""
    from hwhup_core.reproduce.modality_results import markdown_s1

    start = time.monotonic()
    _, _, results = _modalities('tableS1', request)
    _write_table(request, results, markdown_s1(results))
    _say_written(request.out / results['table'], '.json and .md', start)
    return 0


def _modalities(table: str, request: Request) -> tuple[TableConfig, Path, dict[str, Any]]:
    """Make what is missing in the folder that Tables 2 and S1 share; return its configuration, place and results."""
    from hwhup_core.evaluation.scores import load_scores
    from hwhup_core.reproduce.config import MODALITY_SIZES
    from hwhup_core.reproduce.modality_results import modality_results
    from hwhup_core.reproduce.table2 import run_modalities
    from hwhup_core.reproduce.table_pools import commit_of

    config = MODALITY_SIZES[request.size]
    run = request.run or Path('runs') / f'table2-{config.size}'
    files = run_modalities(config, run, request.processes)
    scores = {cell: load_scores(file) for cell, file in files.items()}
    command = f'hwhup reproduce {table} --size {request.size}'
    return config, run, modality_results(table, config, scores, command, commit_of(run))


def _write_table(request: Request, results: Mapping[str, Any], text: str) -> None:
    from hwhup_core.reproduce.results import write_results

    write_results(request.out, results, text)
    print(text)


def _say_written(stem: Path, endings: str, start: float) -> None:
    print(f'wrote {stem}{endings} in {(time.monotonic() - start) / 60:.0f} min (this call)')


def _official(table: str, request: Request) -> int:
    """Run a table on official files, and write its `.json` and `.md`; what is missing is named all at once."""
    from hwhup_core.reproduce.official import markdown, run_official
    from hwhup_core.reproduce.official_start import SIZES

    start = time.monotonic()
    config = replace(SIZES[request.size], split=request.split, workers=request.processes)
    command = f'hwhup reproduce {table} --data official --size {request.size}'
    command += '' if request.split == 'published' else f' --split {request.split}'
    results = run_official(table, config, request.run, command)
    _write_table(request, results, markdown(results))
    _say_written(request.out / results['table'], '.json and .md', start)
    return 0


def _elsewhere(table: str, request: Request) -> int:
    """Run a table that is not about the bed, and write its `.json` and `.md`."""
    from hwhup_core.cli.reproduce_elsewhere import stand_in

    start = time.monotonic()
    results, text = stand_in(table, request.size, request.input, request.run)
    _write_table(request, results, text)
    _say_written(request.out / results['table'], '.json and .md', start)
    return 0


def _crib_rgb(request: Request) -> int:
    """Adapt colour weights to the monitor's crib, write them before and after into `run`, and print the comparison."""
    config = request.config
    if not config.is_file():
        raise ConfigError(f'There is no configuration {config}. The bundled one is config/train/crib_rgb.yaml.')
    from hwhup_core.config_io import load_config
    from hwhup_core.reproduce.crib_rgb import comparison, run_crib_rgb
    from hwhup_core.reproduce.crib_rgb_config import CribRgbConfig

    run = request.run or Path('runs') / config.stem
    answers = run_crib_rgb(load_config(config, CribRgbConfig), run, f'hwhup reproduce crib-rgb --config {config}')
    print(comparison(answers))
    print('wrote ' + ', '.join(f'{run / name}.safetensors' for name in answers) + ', each with its card')
    return 0


def _visnet(request: Request) -> int:
    """Score VisNet, and write `visnet-<size>.json`, `.md` and the pictures."""
    from hwhup_core.cli.visnet import reproduce_visnet

    return reproduce_visnet(request.size, request.run, request.out)


ON_OFFICIAL_FILES = ('table1', 'table2', 'table3', 'table4', 'tableS1', 'tableS2')
"""Tables that run on official files where these are configured."""
TABLES: Mapping[str, Callable[[Request], int]] = {
    'table1': _table1,
    'table2': _table2,
    'table3': partial(_elsewhere, 'table3'),
    'table4': partial(_elsewhere, 'table4'),
    'tableS1': _table_s1,
    'tableS2': partial(_elsewhere, 'tableS2'),
    'visnet': _visnet,
    'crib-rgb': _crib_rgb,
}
"""What `hwhup reproduce` knows by name. Each function imports what it needs itself: the names must come at once."""
