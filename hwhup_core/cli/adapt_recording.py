"""`hwhup adapt RECORDING`: weights adapted to a room that was recorded and labelled, and whether they are better."""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from pathlib import Path

from hwhup_core.deploy.store import resolve
from hwhup_core.errors import ConfigError
from hwhup_core.training.recording_config import RecordingAdaptConfig
from hwhup_core.training.recording_report import BETTER, print_lines
from hwhup_core.training.recording_run import adapt_recording

INPUTS = {'rgb': 'rgb', 'ir': 'ir', 'infrared': 'ir', 'depth': 'depth'}
OTHERS = {
    'preset': 'full', 'covers': None, 'stage_two': None, 'batch': 64, 'lr': 5e-5, 'dry_run': False, 'skip_bad': False,
    'spin_camera': False, 'lab': 'danaLab', 'workers': 1,
}  # fmt: skip
"""Options that only folders in SLP's layout have, with their defaults."""


def config_from(given: argparse.Namespace) -> RecordingAdaptConfig:
    """Return the request of parsed arguments."""
    foreign = [f'--{name.replace("_", "-")}' for name, default in OTHERS.items() if getattr(given, name) != default]
    if foreign:
        raise ConfigError(f'{given.data} is a recording, for which there is no {", ".join(foreign)}. Leave it out.')
    name = given.input or 'rgb'
    if name not in INPUTS:
        raise ConfigError(f'Recordings are adapted to with --input rgb, ir or depth, not {name}.')
    return RecordingAdaptConfig(
        recording=given.data,
        out=given.out or Path('runs') / f'adapt-{given.data.resolve().name}-{INPUTS[name]}',
        input=INPUTS[name],  # type: ignore[arg-type]
        weights=None if given.weights is None else _weights(given.weights),
        body=given.body or 'infant',
        device=given.device,
        hours=given.hours,
        epochs=given.epochs,
        curve=given.curve,
        seed=given.seed,
    )


def _weights(word: str) -> str:
    """Return bundled weights or files as they are, and deployed ones as their file."""
    return word if word == 'none' else str(resolve(word))


def adapt_to_recording(config: RecordingAdaptConfig) -> int:
    """Adapt and say what came of it; 0: better, 1: not better, the weights are there all the same."""
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    report = adapt_recording(config, shlex.join(['hwhup', *sys.argv[1:]]))
    print('\n'.join(print_lines(report)))
    return 0 if report.verdict == BETTER else 1
