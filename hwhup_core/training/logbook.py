"""What a training run leaves to read: TensorBoard while it runs, `report.md` and `report.json` at its end."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from hwhup_core.errors import HwhupError
from hwhup_core.networks.checkpoint import write_whole


@dataclass(frozen=True)
class EpochReport:
    """What one epoch did."""

    epoch: int
    terms: dict[str, float]
    """Mean of each loss term, unweighted."""
    weights: dict[str, float]
    """What each term counted; 0: not in the loss."""
    gradient_norms: dict[str, float]
    """Of each weighted term at the epoch's first batch; empty in epochs that do not log it."""
    validation: dict[str, float]
    """Figures of the network after the epoch; less is better."""
    learning_rate: float
    """At the last step."""
    seconds: float
    """Training alone, validation and writing left out."""
    samples: int
    """Seen by all processes together."""


class Logbook:
    """TensorBoard's event file of a run; a continued run forgets what a killed one wrote of unfinished epochs."""

    def __init__(self, run: Path, first_epoch: int) -> None:
        self._folder = run / 'tensorboard'
        with self._writing():
            self._writer = SummaryWriter(str(self._folder), purge_step=first_epoch)

    def __enter__(self) -> Logbook:
        return self

    def __exit__(self, *problem: object) -> None:
        self._writer.close()

    def record(self, report: EpochReport) -> None:
        """Log one epoch."""
        groups = {
            'terms': report.terms,
            'weights': report.weights,
            'gradient_norm': report.gradient_norms,
            'validation': report.validation,
            'training': {
                'learning_rate': report.learning_rate,
                'samples_per_second': report.samples / max(report.seconds, 1e-9),
            },
        }
        with self._writing():
            for group, figures in groups.items():
                for name, value in figures.items():
                    self._writer.add_scalar(f'{group}/{name}', value, report.epoch)
            self._writer.flush()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise HwhupError(
                f'Cannot write the TensorBoard log in {self._folder}: {error.strerror or error}. Free some space and '
                'start again; the run continues after its last finished epoch.'
            ) from error


def write_report(run: Path, configuration: Mapping[str, Any], reports: Sequence[EpochReport]) -> None:
    """Write `report.json` and `report.md` into the run's folder."""
    report = summary(configuration, reports)
    text = json.dumps(_finite(report), indent=2, ensure_ascii=False, allow_nan=False) + '\n'
    try:
        write_whole(run / 'report.json', text.encode())
        write_whole(run / 'report.md', markdown(report).encode())
    except OSError as error:
        raise HwhupError(
            f'Cannot write the report in {run}: {error.strerror or error}. Free some space and start again; the '
            'training itself is finished and kept.'
        ) from error


def summary(configuration: Mapping[str, Any], reports: Sequence[EpochReport]) -> dict[str, Any]:
    """Return the report as plain values; the best figure of each validation is its lowest finite one."""
    seconds, samples = sum(report.seconds for report in reports), sum(report.samples for report in reports)
    names = list(reports[-1].validation) if reports else []
    return {
        'configuration': dict(configuration),
        'training_seconds': seconds,
        'samples_per_second': samples / seconds if seconds else 0.0,
        'best': {name: _best(name, reports) for name in names},
        'last': dict(reports[-1].validation) if reports else {},
        'epochs': [asdict(report) for report in reports],
    }


def _best(name: str, reports: Sequence[EpochReport]) -> dict[str, float]:
    """Return epoch and value of the lowest figure."""
    found = [(report.validation.get(name, math.nan), report.epoch) for report in reports]
    value, epoch = min(((v, e) for v, e in found if math.isfinite(v)), default=(math.nan, -1))
    return {'epoch': epoch, 'value': value}


def markdown(report: Mapping[str, Any]) -> str:
    """Return the report as Markdown."""
    epochs = report['epochs']
    lines = [
        '# Training run',
        '',
        f'{len(epochs)} epochs, {report["training_seconds"]:.0f} s of training, '
        f'{report["samples_per_second"]:.1f} samples/s.',
        '',
        '| validation | best | in epoch | last |',
        '|---|---|---|---|',
        *(
            f'| {name} | {best["value"]:.5g} | {best["epoch"]} | {report["last"][name]:.5g} |'
            for name, best in report['best'].items()
        ),
        '',
        '## Epochs',
        '',
        *_epoch_table(epochs),
        '',
        '## Configuration',
        '',
        '```json',
        json.dumps(report['configuration'], indent=1, ensure_ascii=False),
        '```',
        '',
    ]
    return '\n'.join(lines)


def _epoch_table(epochs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a row an epoch: every term, every validation figure, rate and time."""
    terms = list(dict.fromkeys(name for epoch in epochs for name in epoch['terms']))
    figures = list(dict.fromkeys(name for epoch in epochs for name in epoch['validation']))
    columns = ['epoch', *terms, *figures, 'learning rate', 'seconds']
    rows = [
        [
            str(epoch['epoch']),
            *(f'{epoch["terms"].get(name, math.nan):.5g}' for name in terms),
            *(f'{epoch["validation"].get(name, math.nan):.5g}' for name in figures),
            f'{epoch["learning_rate"]:.2e}',
            f'{epoch["seconds"]:.1f}',
        ]
        for epoch in epochs
    ]
    return [f'| {" | ".join(cells)} |' for cells in (columns, ['---'] * len(columns), *rows)]


def _finite(value: Any) -> Any:
    """Return the value with None for numbers that JSON cannot hold."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
