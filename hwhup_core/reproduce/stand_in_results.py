"""What the results of all stand-ins share: figures of the columns, what was done, and where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hwhup_core.config_io import to_plain
from hwhup_core.evaluation.scores import PersonScores, summary
from hwhup_core.networks.card import running_commit
from hwhup_core.reproduce.results import plain_interval
from hwhup_core.reproduce.stand_in import SYNTHETIC, StandInConfig

NAMES = {
    'pre_trained': 'start, supervised elsewhere (SPIN)',
    'fine_tuned': 'fine-tuned, OPT and 2D',
    'full': 'HW-HuP (full)',
}


def results_of(config: StandInConfig, scores: Mapping[str, PersonScores], command: str) -> dict[str, Any]:
    """Return the figures that every stand-in has; intervals draw whole subjects."""
    return {
        'table': config.name,
        'data': SYNTHETIC,
        'columns': {
            column: {metric: plain_interval(interval) for metric, interval in summary(mine).items()}
            for column, mine in scores.items()
        },
        'frames': len(next(iter(scores.values()))),
        'command': command,
        'seed': config.training.seed,
        'commit': running_commit(),
        'config': to_plain(config),
    }


def about(results: Mapping[str, Any], where: str) -> list[str]:
    """Return the paragraph on what was done."""
    config = results['config']
    training = config['training']
    return [
        f'Data: {results["data"]}, made by this package; no real person and no file of a published data set. The start '
        f'was trained with true bodies on {training["source_subjects"]} subjects (`{config["source"]["kind"]}`, sensor '
        f'{config["source"]["sensor"]}), then adapted with 2D joints and depth to {training["train_subjects"]} {where} '
        f'(sensor {config["target"]["sensor"]}, labels {config["target"]["label_noise"]} px off), and scored on '
        f'{training["test_subjects"]} others, {training["poses"]} poses each. The networks read '
        f'{", ".join(training["inputs"]["modalities"])}. Intervals are 95 %, drawn over subjects.'
    ]


def origin(results: Mapping[str, Any]) -> list[str]:
    """Return the paragraph on where the figures came from."""
    return [
        f'Made by `{results["command"]}`, seed {results["seed"]}, commit {results["commit"] or "unknown"}; all metrics '
        f'and the whole configuration are in `{results["table"]}.json`.',
        '',
    ]
