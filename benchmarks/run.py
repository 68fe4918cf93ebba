"""
Measure everything: `python benchmarks/run.py [NAME ...]` prints one table and writes out/bench.json.

A NAME picks the benchmark in bench_NAME.py; all run without one. The exit code is 1 if a target is missed or a
benchmark fails.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main(names: list[str]) -> int:
    """Run the benchmarks, print the table, return the exit code."""
    from harness import Row, machine, notes, save, table

    known = {path.stem.removeprefix('bench_'): path.stem for path in sorted(HERE.glob('bench_*.py'))}
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f'No benchmark named {", ".join(unknown)}. There are: {", ".join(known)}.', file=sys.stderr)
        return 2
    rows: list[Row] = []
    broken = []
    for name in names or known:
        print(f'measuring {name} ...', file=sys.stderr, flush=True)
        try:
            rows += importlib.import_module(known[name]).rows()
        except Exception:
            # One broken benchmark must not cost the others' numbers; it is named below and in the exit code.
            traceback.print_exc()
            broken.append(name)
    print(f'{machine()}\n\n{table(rows)}\n\n{notes(rows)}')
    save(rows, HERE.parent / 'out' / 'bench.json')
    for name in broken:
        print(f'FAILED to run: {name} (see above)')
    return 1 if broken or any(row.passed is False for row in rows) else 0


if __name__ == '__main__':
    # One thread each unless told otherwise: targets are per core. Must be set before numpy and torch load.
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    # The built package goes first (its messages live there); the tree serves a machine without a build.
    sys.path += [str(HERE.parent)]
    sys.exit(main(sys.argv[1:]))
