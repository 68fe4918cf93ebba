"""`hwhup reproduce table3|table4|tableS2`: other places than the bed, made by this package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hwhup_core.networks.packing import Modality
from hwhup_core.reproduce import table3 as upright
from hwhup_core.reproduce import table4 as infants
from hwhup_core.reproduce.stand_in import StandInConfig, reading, run_stand_in


def stand_in(table: str, size: str, input_name: str, run: Path | None) -> tuple[dict[str, Any], str]:
    """Make what is missing in the working folder (Tables 3 and S2 share it); return the results and their text."""
    sizes = infants.SIZES if table == 'table4' else upright.SIZES
    config: StandInConfig = reading(sizes[size], Modality(input_name))
    run = run or Path('runs') / config.name
    run_stand_in(config, run)
    command = f'hwhup reproduce {table} --size {size}' + ('' if input_name == 'depth' else f' --input {input_name}')
    if table == 'table4':
        results = infants.table4(config, run, command)
        return results, infants.markdown_table4(results)
    if table == 'tableS2':
        results = upright.table_s2(config, run, command)
        return results, upright.markdown_s2(results)
    results = upright.table3(config, run, command)
    return results, upright.markdown_table3(results)
