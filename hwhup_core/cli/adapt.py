"""`hwhup adapt`: weights adapted to a folder of frames without 3D labels."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from pathlib import Path

from hwhup_core.errors import ConfigError
from hwhup_core.networks.packing import INPUTS
from hwhup_core.training.distributed import init_from_environment
from hwhup_core.training.dry_run import DryRun
from hwhup_core.training.slp_run import Outcome, SlpRunConfig, run_slp, try_slp


def config_from(given: argparse.Namespace) -> SlpRunConfig:
    """Return the request of parsed arguments."""
    if given.weights is None:
        raise ConfigError(f'{given.data} is no recording. For a folder in the layout of SLP say --weights.')
    if given.hours is not None or given.curve or given.device != 'auto':
        raise ConfigError(f'--hours, --curve and --device are for recordings, which {given.data} is not.')
    return SlpRunConfig(
        data=given.data,
        weights=given.weights,
        out=given.out or Path('runs') / f'adapt-{given.data.resolve().name}',
        preset=given.preset.replace('-', '_'),
        body=given.body or 'adult',
        modalities=None if given.input is None else INPUTS['infrared' if given.input == 'ir' else given.input],
        covers=None if given.covers is None else tuple(dict.fromkeys(given.covers)),
        epochs=given.epochs,
        stage_two=given.stage_two,
        batch_size=given.batch,
        learning_rate=given.lr,
        spin_camera=given.spin_camera,
        skip_bad=given.skip_bad,
        seed=given.seed,
        lab=given.lab,
        workers=given.workers,
    )


def adapt(config: SlpRunConfig, dry: bool) -> int:
    """Adapt, or look at what one step would do; processes that `torchrun` started work together."""
    ranks = init_from_environment()
    if ranks.first:
        logging.basicConfig(level=logging.INFO, format='%(message)s')
    if dry:
        _print_dry(try_slp(config))
        return 0
    outcome = run_slp(config)
    if ranks.first:
        _print_outcome(outcome, config.out)
    return 0


def _print_dry(steps: Mapping[str, DryRun]) -> None:
    for stage, step in steps.items():
        print(f'{stage}: {step.frames} frames in {step.seconds:.2f} s, {step.memory_bytes / 1e6:.0f} MB')
        print(f'  {"term":12} {"value":>12} {"weight":>12} {"gradient":>12}')
        for name, value in step.terms.items():
            norm = step.gradient_norms.get(name, 0.0)
            print(f'  {name:12} {value:12.5g} {step.weights[name]:12.5g} {norm:12.5g}')
    print('nothing was changed or written')


def _print_outcome(outcome: Outcome, run: Path) -> None:
    left_out = ', '.join(f'{reason} {count}' for reason, count in outcome.report.counts().items())
    print(f'{outcome.report.poses} poses, {outcome.report.samples} samples; left out: {left_out or "nothing"}')
    for name, after in outcome.after.items():
        print(f'held out {name}: {outcome.before[name]:.2f} before, {after:.2f} after')
    print(f'wrote {outcome.weights}.safetensors and .json, and {run / "report.md"}')
