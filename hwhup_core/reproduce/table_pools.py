"""The sets of samples of a table, made once in its folder: labelled source, weak target, held-out, for the oracle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hwhup_core.config_io import from_plain, load_config, save_config
from hwhup_core.errors import HwhupError
from hwhup_core.networks.card import running_commit
from hwhup_core.reproduce.config import SENSED, TableConfig
from hwhup_core.reproduce.held_out import save_test_pool
from hwhup_core.synthetic.domain import Cover, DomainConfig
from hwhup_core.training.domain_pools import labelled_pool, test_pool, weak_pool
from hwhup_core.training.pools import LabelledPool, WeakPool, save_pool

SOURCE_SEED, TARGET_SEED = 1, 2
"""Added to the table's seed: what the two domains are drawn from."""


def claim(config: TableConfig, run: Path) -> None:
    """Write configuration and commit into a fresh folder, which is made; refuse a folder of another configuration."""
    run.mkdir(parents=True, exist_ok=True)
    file = run / 'config.yaml'
    if file.exists() and load_config(file, TableConfig) != config:
        raise HwhupError(f'{run} holds a table of another configuration, see {file}. Choose another folder with --run.')
    save_config(file, config)
    if not (run / 'commit').exists():
        (run / 'commit').write_text(running_commit())


def commit_of(run: Path) -> str:
    """Return the commit of the code that a run was begun with, whatever code writes its results."""
    return (run / 'commit').read_text()


def domain(config: TableConfig, kind: str) -> DomainConfig:
    """Return the source (`room`) or target (`bed`) domain; depth is always sensed, since it supervises."""
    sensed = dict.fromkeys(('depth', *(SENSED[modality] for modality in config.inputs.modalities)))
    covers = config.covers if kind == 'bed' else (Cover.NONE,)
    noise = {'label_noise': config.label_noise if kind == 'bed' else 0.0, 'sensor': config.sensor}
    plain = {
        'kind': kind, 'body': config.body, 'poses': config.poses, 'modalities': list(sensed),
        'covers': [cover.value for cover in covers],
    }  # fmt: skip
    return from_plain(plain | noise, DomainConfig, kind)


def make_source_pool(config: TableConfig, run: Path) -> None:
    """Make the labelled source domain."""
    room, subjects = domain(config, 'room'), range(1, config.source_subjects + 1)
    _make(run / 'source.npz', lambda: labelled_pool(room, config.seed + SOURCE_SEED, subjects, config.observation))


def make_target_pools(config: TableConfig, run: Path) -> None:
    """Make the weak target and the held-out people."""
    bed, seed = domain(config, 'bed'), config.seed + TARGET_SEED
    _make(run / 'weak.npz', lambda: weak_pool(bed, seed, _train_subjects(config), config.observation))
    if not (run / 'test' / 'truth.npz').exists():
        held_out = range(config.train_subjects + 1, config.train_subjects + config.test_subjects + 1)
        exact = replace(bed, label_noise=0.0)
        save_test_pool(run / 'test', test_pool(exact, seed, held_out, config.observation))


def make_oracle_pool(config: TableConfig, run: Path) -> None:
    """Make the target with its truth, for the oracle alone."""
    bed, seed = domain(config, 'bed'), config.seed + TARGET_SEED
    _make(run / 'oracle.npz', lambda: labelled_pool(bed, seed, _train_subjects(config), config.observation))


def _train_subjects(config: TableConfig) -> range:
    return range(1, config.train_subjects + 1)


def _make(file: Path, make: Callable[[], LabelledPool | WeakPool]) -> None:
    if not file.exists():
        save_pool(file, make())
