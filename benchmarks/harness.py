"""What every benchmark shares: fair timing, one kind of row, one table."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One line of the table: what we measured, against what, and what it has to reach."""

    name: str
    ours: float
    """Median, in `unit`."""
    unit: str = 'ms'
    baseline: float | None = None
    """Median of the plain way of doing it, in `unit`, measured in the same run."""
    at_most: float | None = None
    """Target for `ours`."""
    at_least: float | None = None
    """Target for `ours` where more is better, such as a rate."""
    ratio_at_least: float | None = None
    """Target for baseline / ours."""
    note: str = ''

    @property
    def ratio(self) -> float | None:
        """How many times faster than the baseline."""
        return None if self.baseline is None else self.baseline / self.ours

    @property
    def passed(self) -> bool | None:
        """Whether every target is reached; None without a target."""
        checks = []
        if self.at_most is not None:
            checks.append(self.ours <= self.at_most)
        if self.at_least is not None:
            checks.append(self.ours >= self.at_least)
        if self.ratio_at_least is not None:
            checks.append(self.ratio is not None and self.ratio >= self.ratio_at_least)
        return all(checks) if checks else None

    @property
    def target(self) -> str:
        """The targets in words."""
        words = [
            f'<= {self.at_most:g} {self.unit}' if self.at_most is not None else '',
            f'>= {self.at_least:g} {self.unit}' if self.at_least is not None else '',
            f'>= {self.ratio_at_least:g}x' if self.ratio_at_least is not None else '',
        ]
        return ', '.join(word for word in words if word)


def interleaved(
    functions: dict[str, Callable[[], object]], repeats: int = 20, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """
    Return the median time of each function, ms, on the wall or on another clock (s), such as `time.process_time`.

    They take turns, so a busy moment of the machine hits all of them; one unmeasured turn first pays for compilation.
    """
    for function in functions.values():
        function()
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            start = clock()
            function()
            times[name].append((clock() - start) * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a markdown table."""
    lines = ['| what | ours | baseline | ratio | target | |', '|---|---|---|---|---|---|']
    for row in rows:
        baseline = '' if row.baseline is None else _number(row.baseline, row.unit)
        ratio = '' if row.ratio is None else f'{row.ratio:.3g}x' if row.ratio < 100 else f'{row.ratio:,.0f}x'
        verdict = {None: '', True: 'PASS', False: 'FAIL'}[row.passed]
        lines.append(
            f'| {row.name} | {_number(row.ours, row.unit)} | {baseline} | {ratio} | {row.target} | {verdict} |'
        )
    return '\n'.join(lines)


def notes(rows: Sequence[Row]) -> str:
    """Return what has to be said about the rows, a line each."""
    return '\n'.join(f'- {row.name}: {row.note}' for row in rows if row.note)


def save(rows: Sequence[Row], path: Path) -> None:
    """Write the rows and the machine they were measured on as JSON."""
    records = [{**asdict(row), 'ratio': row.ratio, 'passed': row.passed} for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({'machine': machine(), 'rows': records}, indent=2) + '\n')


def machine() -> dict[str, object]:
    """Return what the numbers depend on."""
    return {
        'processor': _processor(),
        'cores': os.cpu_count(),
        'load': os.getloadavg()[0] if hasattr(os, 'getloadavg') else None,
        'python': platform.python_version(),
    }


def _processor() -> str:
    for line in Path('/proc/cpuinfo').read_text().splitlines() if Path('/proc/cpuinfo').exists() else ():
        if line.startswith('model name'):
            return line.partition(':')[2].strip()
    return platform.processor()


def _number(value: float, unit: str) -> str:
    return f'{value:,.0f} {unit}' if value >= 100 else f'{value:.3g} {unit}'
