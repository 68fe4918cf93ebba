"""
The store of deployed models: one folder a name, in it one folder a set of weights, and which of them is current.

    <store>/<name>/<hash>/  weights.safetensors, weights.json (their card), report.json (of the run), provenance.yaml
    <store>/<name>/current  the hash in use; replaced whole, so that a reader sees the old or the new one
    <store>/<name>/history.jsonl  what was done when

Nothing is ever deleted here, so that every step back is possible.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from hwhup_core.body.model import BodyModel, load_body
from hwhup_core.config_io import load_config, save_config
from hwhup_core.deploy.self_test import SelfTest, require_same_answer, run_self_test
from hwhup_core.errors import AssetError, ConfigError
from hwhup_core.inference.config import EngineConfig
from hwhup_core.inference.engine import Engine, weights_path
from hwhup_core.networks.checkpoint import load_card, load_checkpoint
from hwhup_core.whole_files import write_whole

DEFAULT_NAME = 'room'
WEIGHTS, REPORT, PROVENANCE, CURRENT, HISTORY = (
    'weights.safetensors', 'report.json', 'provenance.yaml', 'current', 'history.jsonl',
)  # fmt: skip
BETTER = 'better'
"""Verdict of a report that allows deployment."""
_NAME = re.compile(r'[a-z][a-z0-9_-]{0,40}')


@dataclass(frozen=True)
class Provenance:
    """Where deployed weights come from."""

    weights_hash: str
    run: str
    """Name of the run's folder."""
    deployed_at: str
    """UTC, ISO 8601."""
    body: str
    """The body they were tested with: a bundled one's name, or a file."""
    verdict: str
    """Of the run's report; `none` where it has none."""
    forced: bool
    """Whether they were deployed although the report does not call them better."""
    replaced: str
    """Hash that was current before; empty for the first one."""
    self_test: tuple[tuple[float, float, float], ...]
    """Joints of the answer to the test frame, root at the origin, metres."""


@dataclass(frozen=True)
class Deployed:
    """One set of weights in the store."""

    name: str
    folder: Path
    current: bool
    provenance: Provenance

    @property
    def weights(self) -> Path:
        """Return the file to load."""
        return self.folder / WEIGHTS


def models_folder() -> Path:
    """Return the store: environment HWHUP_MODELS, else a folder of the user."""
    given = os.environ.get('HWHUP_MODELS')
    if given:
        return Path(given).expanduser()
    data = os.environ.get('XDG_DATA_HOME') or '~/.local/share'
    return Path(data).expanduser() / 'hwhup' / 'models'


def deploy(
    run: Path, store: Path, name: str = DEFAULT_NAME, body: str = 'infant', even_if_worse: bool = False
) -> Deployed:
    """
    Put the weights of a finished run into the store and make them current.

    Raises AssetError for weights that fail their self-test, ConfigError where the report does not call them better.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f'{name!r} cannot name a model: use a small letter, then letters, digits, - and _.')
    report, verdict = _verdict(run)
    if verdict != BETTER and not even_if_worse:
        raise ConfigError(
            f'The report of {run} says: {verdict}. Only weights that are better on held-out frames are deployed; say '
            '--even-if-worse to do it all the same.'
        )
    source = run / WEIGHTS
    weights_hash, answer = _tested(source, body)
    before = current_hash(store, name)
    provenance = Provenance(
        weights_hash=weights_hash,
        run=run.resolve().name,
        deployed_at=_now(),
        body=body,
        verdict=verdict,
        forced=verdict != BETTER,
        replaced=before,
        self_test=tuple((float(x), float(y), float(z)) for x, y, z in np.round(answer.joints, 5)),
    )
    folder = store / name / weights_hash[:12]
    if not folder.exists():
        _place(source, report, provenance, folder)
    _make_current(store, name, weights_hash[:12], 'deploy')
    return find(store, name)


def _verdict(run: Path) -> tuple[Path | None, str]:
    """Return the run's report and what it says; `none` where there is none."""
    if not (run / WEIGHTS).is_file():
        raise AssetError(f'{run} holds no {WEIGHTS}. Give the folder of a finished `hwhup adapt`.')
    file = run / REPORT
    if not file.is_file():
        return None, 'none'
    try:
        content: Any = json.loads(file.read_text(encoding='utf-8'))
        return file, str(content['verdict'])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AssetError(f'{file} is no report of `hwhup adapt` ({error!r}). Adapt again.') from error


def _tested(weights: Path, body: str) -> tuple[str, SelfTest]:
    model = load_body(body)
    engine = Engine(load_checkpoint(weights, model), model, EngineConfig(weights=str(weights), body=body))
    return engine.loaded.card.weights_hash, run_self_test(engine)


def _place(weights: Path, report: Path | None, provenance: Provenance, folder: Path) -> None:
    """Copy everything beside the goal, then rename: the folder appears whole."""
    partial = folder.with_name(f'.{folder.name}.partial')
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for source in (weights, weights.with_suffix('.json'), *([report] if report else [])):
        shutil.copyfile(source, partial / source.name)
    save_config(partial / PROVENANCE, provenance)
    partial.rename(folder)


def find(store: Path, name: str, weights_hash: str = '') -> Deployed:
    """Return the current weights of a name, or those whose hash begins so."""
    known = [each for each in deployed(store) if each.name == name]
    if not known:
        names = ', '.join(sorted({each.name for each in deployed(store)})) or 'none'
        raise AssetError(f'{store} has no model {name!r}; there is: {names}. Deploy a run first.')
    fitting = [
        each
        for each in known
        if (each.provenance.weights_hash.startswith(weights_hash) if weights_hash else each.current)
    ]
    if len(fitting) != 1:
        raise AssetError(
            f'{len(fitting)} weights of {name} fit {weights_hash or "`current`"}. See `hwhup models list`.'
        )
    return fitting[0]


def deployed(store: Path) -> tuple[Deployed, ...]:
    """Return everything in the store, by name, the oldest first."""
    found = []
    for file in sorted(store.glob(f'*/[0-9a-f]*/{PROVENANCE}')):
        name = file.parent.parent.name
        provenance = load_config(file, Provenance)
        found.append(Deployed(name, file.parent, file.parent.name == current_hash(store, name), provenance))
    return tuple(sorted(found, key=lambda each: (each.name, each.provenance.deployed_at)))


def current_hash(store: Path, name: str) -> str:
    """Return the hash in use, as its folder is called; empty before the first deployment."""
    file = store / name / CURRENT
    return file.read_text(encoding='utf-8').strip() if file.is_file() else ''


def rollback(store: Path, name: str = DEFAULT_NAME) -> Deployed:
    """Make the weights current that were so before the present ones."""
    present = find(store, name)
    before = _before(_steps(store, name))
    if before is None:
        raise ConfigError(
            f'{name} has had no other weights than {present.folder.name}. Nothing to go back to; the bundled weights '
            'are used without a deployed model.'
        )
    _make_current(store, name, before, 'rollback')
    return find(store, name)


def _steps(store: Path, name: str) -> list[dict[str, str]]:
    lines = (store / name / HISTORY).read_text(encoding='utf-8').splitlines()
    return [json.loads(line) for line in lines]


def _before(steps: Sequence[dict[str, str]]) -> str | None:
    """Return what was current before the newest of a chain of steps, each rollback undoing one deployment."""
    chain: list[str] = []
    for step in steps:
        if step['action'] == 'rollback':
            chain.pop()
        elif not chain or chain[-1] != step['hash']:
            chain.append(step['hash'])
    return chain[-2] if len(chain) > 1 else None


def _make_current(store: Path, name: str, short_hash: str, action: str) -> None:
    with (store / name / HISTORY).open('a', encoding='utf-8') as history:
        history.write(json.dumps({'time': _now(), 'action': action, 'hash': short_hash}) + '\n')
    write_whole(store / name / CURRENT, f'{short_hash}\n'.encode())


def resolve(name_or_path: str, store: Path | None = None) -> Path:
    """Return the weights that a word means: bundled ones, a deployed model (`room`, `room/1f3a...`), or a file."""
    path = weights_path(name_or_path)
    if path.is_file() or path.with_suffix('.json').is_file():
        return path
    name, _, weights_hash = name_or_path.partition('/')
    folder = store or models_folder()
    if _NAME.fullmatch(name) and (folder / name).is_dir():
        return find(folder, name, weights_hash).weights
    return path


def load_tested(weights: Path, body: BodyModel, config: EngineConfig) -> Engine:
    """
    Return an engine of weights that passed the self-test just now; of deployed ones the noted answer is compared.

    Raises AssetError where anything is wrong, before anything is replaced.
    """
    engine = Engine(load_checkpoint(weights, body), body, config)
    answer = run_self_test(engine)
    file = weights.parent / PROVENANCE
    if file.is_file():
        noted = load_config(file, Provenance)
        if noted.weights_hash != load_card(weights).weights_hash:
            raise AssetError(f'{file} belongs to weights {noted.weights_hash[:12]}. Deploy the run again.')
        require_same_answer(SelfTest(np.array(noted.self_test)), answer)
    engine.reset()
    return engine


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec='milliseconds')
