"""`hwhup reproduce`: run a table or an adaptation, write its results, print them."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from pathlib import Path

from hwhup_core.errors import ConfigError


def reproduce(size: str, modality: str, run: Path | None, out: Path, processes: int, columns: str = 'all') -> int:
    """Run the table of that size and input, and write `table1-<size>.json`, `.md` and the pictures in `out`."""
    if processes < 1:
        raise ConfigError(f'--processes is {processes}. Expected at least 1.')
    from hwhup_core.evaluation.scores import load_scores
    from hwhup_core.networks.packing import Modality
    from hwhup_core.reproduce.config import COLUMNS, NEEDED, SIZES
    from hwhup_core.reproduce.pictures import write_pictures
    from hwhup_core.reproduce.results import markdown, table, write_results
    from hwhup_core.reproduce.table1 import run_table

    logging.basicConfig(level=logging.INFO, format='%(message)s')
    config = SIZES[size]
    config = replace(config, inputs=replace(config.inputs, modalities=(Modality(modality),)))
    run = run or Path('runs') / config.name
    start = time.monotonic()
    files = run_table(config, run, processes, COLUMNS if columns == 'all' else NEEDED)
    command = f'hwhup reproduce table1 --size {size}' + ('' if modality == 'depth' else f' --input {modality}')
    command += '' if columns == 'all' else f' --columns {columns}'
    results = table(config, {column: load_scores(file) for column, file in files.items()}, command)
    write_results(out, results)
    write_pictures(config, run, out)
    print(markdown(results))
    print(f'wrote {out / config.name}.json, .md and .jpg in {(time.monotonic() - start) / 60:.0f} min (this call)')
    return 0


def reproduce_crib_rgb(config: Path, run: Path | None) -> int:
    """Adapt colour weights to the monitor's crib, write them before and after into `run`, and print the comparison."""
    if not config.is_file():
        raise ConfigError(f'There is no configuration {config}. The bundled one is config/train/crib_rgb.yaml.')
    from hwhup_core.config_io import load_config
    from hwhup_core.reproduce.crib_rgb import comparison, run_crib_rgb
    from hwhup_core.reproduce.crib_rgb_config import CribRgbConfig

    logging.basicConfig(level=logging.INFO, format='%(message)s')
    run = run or Path('runs') / config.stem
    answers = run_crib_rgb(load_config(config, CribRgbConfig), run, f'hwhup reproduce crib-rgb --config {config}')
    print(comparison(answers))
    print('wrote ' + ', '.join(f'{run / name}.safetensors' for name in answers) + ', each with its card')
    return 0
