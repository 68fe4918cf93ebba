"""
A whole adaptation to a recording: check, split, train, score before and after, report.

The run's folder holds all that it makes, each part once, so that a stopped run goes on:

    weights.safetensors, weights.json   the adapted weights with their card, whatever the verdict
    report.json, .md, .html, held_out.png
    inputs.json                         what the run depends on; with other inputs the folder is refused
    pools/, training/, curve/           samples, states and TensorBoard of the trainings
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from numpy import ndarray

from hwhup_core.body.model import BodyModel, load_body
from hwhup_core.config_io import to_plain
from hwhup_core.data.recording import INDEX_FILE, Recording, open_recording
from hwhup_core.data.recording_card import CARD_FILE
from hwhup_core.errors import ConfigError, HwhupError
from hwhup_core.evaluation.evaluate import IDENTITY_CALIBRATION
from hwhup_core.evaluation.metrics import Interval
from hwhup_core.geometry.proxies import depth_at
from hwhup_core.inference.config import EngineConfig
from hwhup_core.inference.engine import Engine, weights_path
from hwhup_core.labeling.labels import FrameLabel, LabelStore
from hwhup_core.networks.card import Measurement, ModelCard, running_commit
from hwhup_core.networks.checkpoint import Loaded, load_checkpoint, save_checkpoint
from hwhup_core.training.pools import WeakPool, load_pool, save_pool
from hwhup_core.training.recording_card import measured_calibration, measured_extents
from hwhup_core.training.recording_config import (
    MODALITY,
    MOST_SCORED,
    MOST_TRAINING,
    RecordingAdaptConfig,
    observation_of,
)
from hwhup_core.training.recording_figures import ROWS, write_pictures
from hwhup_core.training.recording_pools import COLUMNS, weak_pool_of_recording
from hwhup_core.training.recording_report import (
    AdaptReport,
    gains,
    judge,
    means_of,
    plain,
    write_report,
)
from hwhup_core.training.recording_scores import Scored, evenly, observed_frames, score_frames
from hwhup_core.training.recording_split import FrameSplit, Moment, split_by_time
from hwhup_core.training.recording_training import Pools, Trained, train_on_pools
from hwhup_core.training.run_state import differences
from hwhup_core.training.slp_pools import select
from hwhup_core.training.slp_run import load_start
from hwhup_core.types import BodyParams
from hwhup_core.whole_files import write_whole

logger = logging.getLogger(__name__)

WEIGHTS, INPUTS_FILE = 'weights', 'inputs.json'
SHARES = (0.25, 0.5)
"""Of the labelled frames, for the curve; all of them are trained on in any case."""
LEAST_OF_CURVE = 8
DISTANCE_FRAMES = 20
HUMAN = ('manual', 'imported')
"""Sources of labels that people made."""


@dataclass(frozen=True)
class Checked:
    """A recording that can be adapted to."""

    recording: Recording
    labels: Mapping[str, FrameLabel]
    """Of the frames that can be used, by name."""
    split: FrameSplit
    left_out: Counter[str]
    """Frames that take no part, by reason."""


@dataclass(frozen=True)
class _Candidate:
    """Weights that were adapted to some of the frames."""

    frames: int
    """Labelled frames that they were trained on."""
    trained: Trained
    engine: Engine


def adapt_recording(config: RecordingAdaptConfig, command: str = '') -> AdaptReport:
    """Adapt weights to the recording and say whether they are better; a stopped run in `config.out` goes on."""
    begin = time.monotonic()
    checked = check_frames(config)
    body = load_body(config.body)
    start = start_of(config, body)
    _require_same_inputs(config, checked, start)
    pools, left_out = _pools(config, checked, body)
    logger.info('%d frames to train on, %d to check', len(pools.training), len(pools.validation))
    *parts, whole = [_candidate(config, checked, part, command) for part in _parts(config, pools)]
    engines = [_engine(config, start), *(each.engine for each in (*parts, whole))]
    observation = observation_of(pools.stature, pools.distance)
    held_out = evenly(checked.split.held_out, MOST_SCORED)
    frames = observed_frames(checked.recording, checked.labels, held_out, observation, left_out)
    scored = score_frames(engines, frames, left_out)
    if not scored.frames:
        raise HwhupError(f'None of the {len(held_out)} held-out frames can be scored: {dict(left_out)}.')
    blocks = np.array([checked.split.blocks[name] for name in scored.frames])
    card = _write_weights(config, whole, means_of(scored.engines[-1], blocks))
    shown = evenly(scored.frames, ROWS)
    pictures = write_pictures(
        config.out,
        (('before', engines[0]), ('after', engines[-1])),
        observed_frames(checked.recording, checked.labels, shown, observation, Counter()),
    )
    before, after = scored.engines[0], scored.engines[-1]
    difference = gains(before, after, blocks)
    verdict = judge(difference, int(before.missed.sum()), int(after.missed.sum()))
    content = {
        'verdict': verdict.word,
        'reason': verdict.reason,
        'before': plain(means_of(before, blocks)),
        'after': plain(means_of(after, blocks)),
        'difference': plain(difference),
        'missed': {'before': int(before.missed.sum()), 'after': int(after.missed.sum())},
        'frames': _frames(checked, pools, scored, blocks, left_out),
        'curve': _curve(pools, parts, scored, blocks) if config.curve else [],
        'weights_hash': card.weights_hash,
        'started_from': {'weights': config.start(), 'weights_hash': start.card.weights_hash},
        'recording': {'name': config.recording.resolve().name, 'card_hash': card_hash(checked.recording)},
        'command': command,
        'config': to_plain(config),
        'epochs': whole.trained.epochs,
        'best_epoch': whole.trained.best_epoch,
        'training_seconds': whole.trained.seconds,
        'seconds': time.monotonic() - begin,
    }
    written = write_report(config.out, content, pictures)
    return AdaptReport(verdict.word, verdict.reason, config.out / f'{WEIGHTS}.safetensors', written)


def check_frames(config: RecordingAdaptConfig) -> Checked:
    """Return what of the recording can be used, and for what; an unusable one is refused."""
    recording = open_recording(config.recording)
    if recording.card.depth == 'none':
        raise ConfigError(f'{config.recording} holds no depth, which has to supervise. Record with a depth camera.')
    if recording.card.intrinsics is None:
        raise ConfigError(f'{config.recording} does not say what its camera is like. Record with camera info.')
    store = LabelStore(config.recording)
    usable, all_labels = store.usable(), store.current()
    wanted = {'depth', *(COLUMNS[modality] for modality in MODALITY[config.input])}
    moments, left_out = [], Counter[str]()
    for record in recording.frames:
        missing = sorted(wanted - set(record.files))
        if record.unit in usable and not missing:
            moments.append(Moment(record.unit, record.stamp_ns / 1e9))
        elif record.unit in usable:
            left_out[f'no_{missing[0]}'] += 1
        else:
            rejected = record.unit in all_labels and all_labels[record.unit].status == 'rejected'
            left_out['rejected' if rejected else 'unlabelled'] += 1
    if not moments:
        reasons = ', '.join(f'{reason} {count}' for reason, count in left_out.items()) or 'it is empty'
        raise ConfigError(
            f'{config.recording} has {len(recording)} frames and none can be used: {reasons}. Label it: hwhup label '
            f'auto {config.recording}'
        )
    people = {name for name, label in usable.items() if label.source in HUMAN}
    split = split_by_time(moments, config.gap_s, people)
    labels = {moment.frame: usable[moment.frame] for moment in moments}
    return Checked(recording, labels, split, left_out + split.left_out)


def start_of(config: RecordingAdaptConfig, body: BodyModel) -> Loaded:
    """Return the weights to start from; infrared without other weights starts from those for colour."""
    modalities = MODALITY[config.input]
    if config.weights is None and config.input == 'ir':
        loaded = load_checkpoint(weights_path(config.start()), body)
        inputs = replace(loaded.card.input, modalities=modalities)
        return Loaded(loaded.model, replace(loaded.card, input=inputs))
    return load_start(config.start(), body, modalities, config.seed)


def card_hash(recording: Recording) -> str:
    """Return what the recording's card and index are, whatever folder they lie in."""
    digest = hashlib.sha256((recording.folder / CARD_FILE).read_bytes())
    digest.update((recording.folder / INDEX_FILE).read_bytes())
    return digest.hexdigest()


def _require_same_inputs(config: RecordingAdaptConfig, checked: Checked, start: Loaded) -> None:
    """Refuse a run's folder that was made with another configuration, other labels, or another start."""
    config.out.mkdir(parents=True, exist_ok=True)
    fixed = {key: value for key, value in to_plain(config).items() if key not in ('out', 'curve', 'device')}
    here = {
        'config': fixed | {'recording': config.recording.resolve().name},
        'start': start.card.weights_hash,
        'frames': _digest(checked),
    }
    file = config.out / INPUTS_FILE
    if not file.is_file():
        write_whole(file, json.dumps(here, indent=1).encode())
        return
    there = json.loads(file.read_text(encoding='utf-8'))
    found = [*differences(there, json.loads(json.dumps(here)))]
    if found:
        raise ConfigError(
            f'{config.out} holds a run with other inputs: {"; ".join(found[:5])}. Choose another folder for this one.'
        )


def _digest(checked: Checked) -> str:
    """Return what the labels and the split are."""
    split = checked.split
    digest = hashlib.sha256(repr((split.training, split.validation, split.held_out)).encode())
    for name, label in sorted(checked.labels.items()):
        digest.update(f'{name} {label.joints} {label.source} {label.mask}'.encode())
        for array in (label.pixels, label.labelled, label.visible, label.confidence):
            digest.update(np.ascontiguousarray(array, np.float64).tobytes())
    return digest.hexdigest()[:16]


def _pools(config: RecordingAdaptConfig, checked: Checked, body: BodyModel) -> tuple[Pools, Counter[str]]:
    """Return the samples, from the run's folder where it goes on, and all frames that are left out, by reason."""
    stature, distance = stature_of(body), typical_distance(checked)
    observation = observation_of(stature, distance)
    split, left_out, found = checked.split, Counter(checked.left_out), {}
    for name, frames in (('training', evenly(split.training, MOST_TRAINING)), ('validation', split.validation)):
        file, reasons = config.out / 'pools' / f'{name}.npz', config.out / 'pools' / f'{name}.json'
        if not reasons.is_file():
            file.parent.mkdir(exist_ok=True)
            pool, bad = weak_pool_of_recording(
                checked.recording, checked.labels, frames, observation, MODALITY[config.input]
            )
            save_pool(file, pool)
            write_whole(reasons, json.dumps(bad).encode())
        found[name] = load_pool(file, WeakPool)
        left_out.update(json.loads(reasons.read_text(encoding='utf-8')))
    thinned = len(split.training) - len(evenly(split.training, MOST_TRAINING))
    left_out.update({'thinned': thinned} if thinned else {})
    return Pools(found['training'], found['validation'], distance, stature), left_out


def stature_of(body: BodyModel) -> float:
    """Return the height (m) of the mean body."""
    eye = torch.eye(3)
    with torch.no_grad():
        vertices = body(BodyParams(eye[None], eye.expand(1, 23, 3, 3), torch.zeros(1, 10))).vertices[0]
    return float((vertices.amax(dim=0) - vertices.amin(dim=0)).amax())


def typical_distance(checked: Checked) -> float:
    """Return the median depth (m) at the seen joints of some frames; 0 where none was measured."""
    places = {record.unit: place for place, record in enumerate(checked.recording.frames)}
    depths: list[float] = []
    for name in evenly(checked.split.training, DISTANCE_FRAMES):
        depth, label = checked.recording.frame(places[name]).depth, checked.labels[name]
        if depth is not None:
            pixels = label.pixels[label.labelled & (label.visible > 0.5)]
            inside, measured = depth_at(depth, pixels)
            depths += measured[inside & (measured > 0)].tolist()
    return float(np.median(depths)) if depths else 0.0


def _parts(config: RecordingAdaptConfig, pools: Pools) -> list[tuple[Path, Pools]]:
    """Return what to train on and in which folder: for the curve shares of the frames, at last all of them."""
    parts = []
    for share in SHARES if config.curve else ():
        places = np.unique(np.linspace(0, len(pools.training) - 1, round(share * len(pools.training))).round())
        if len(places) >= LEAST_OF_CURVE:
            part = select(pools.training, places.astype(int))
            labels = replace(part.labels, rows=np.arange(len(part)))
            parts.append((Path('curve') / f'{len(part)}', replace(pools, training=replace(part, labels=labels))))
    return [*parts, (Path('training'), pools)]


def _candidate(config: RecordingAdaptConfig, checked: Checked, part: tuple[Path, Pools], command: str) -> _Candidate:
    """Train on a part of the frames and return the weights with extents and calibration in their card."""
    folder, pools = part
    body = load_body(config.body)
    trained = train_on_pools(start_of(config, body), body, pools, config, config.out / folder, device_of(config.device))
    network, card = trained.loaded.model, trained.loaded.card
    body = load_body(config.body)
    extents = measured_extents(network, body, card.input, pools.training)
    card = replace(
        card,
        training_data=f'{card.training_data or "Nothing"}; then adapted without 3D labels to {len(pools.training)} '
        f'frames of the recording {config.recording.resolve().name}',
        training_command=command,
        training_config=to_plain(config) | {'start': card.weights_hash},
        seed=config.seed,
        commit=running_commit(),
        metrics={},
        calibration=IDENTITY_CALIBRATION | extents,
    )
    engine = _engine(config, Loaded(network, card))
    observation, reasons = observation_of(pools.stature, pools.distance), Counter[str]()
    frames = observed_frames(checked.recording, checked.labels, pools.validation.names, observation, reasons)
    calibration = measured_calibration(engine, frames)
    card = replace(card, calibration=calibration | extents if calibration else {})
    return _Candidate(len(pools.training), trained, _engine(config, Loaded(network, card)))


def _engine(config: RecordingAdaptConfig, loaded: Loaded) -> Engine:
    """Return the engine that will run the weights."""
    settings = EngineConfig(body=config.body, device=config.device, threads=torch.get_num_threads())
    return Engine(loaded, load_body(config.body), settings)


def _write_weights(config: RecordingAdaptConfig, whole: _Candidate, figures: Mapping[str, Interval]) -> ModelCard:
    """Write the weights with their card, whose figures are those of the held-out frames."""
    loaded = whole.engine.loaded
    metrics = {
        name: Measurement(each.mean, each.low, each.high, each.count)
        for name, each in figures.items()
        if np.isfinite([each.mean, each.low, each.high]).all()
    }
    model: Any = loaded.model.to('cpu')
    model.to(memory_format=torch.contiguous_format)
    return save_checkpoint(config.out / WEIGHTS, model, replace(loaded.card, metrics=metrics))


def _frames(
    checked: Checked, pools: Pools, scored: Scored, blocks: Int[ndarray, ' n'], left_out: Counter[str]
) -> dict[str, Any]:
    """Return how many frames did what; trained on, checked, held out and left out are all that were recorded."""
    not_scored = len(checked.split.held_out) - len(evenly(checked.split.held_out, MOST_SCORED))
    return {
        'recorded': len(checked.recording),
        'labelled': len(checked.labels),
        'labelled_by_people': sum(label.source in HUMAN for label in checked.labels.values()),
        'training': len(pools.training),
        'validation': len(pools.validation),
        'held_out': len(scored.frames),
        'held_out_blocks': len(np.unique(blocks)),
        'left_out': dict(left_out + Counter({'held_out_not_scored': not_scored})),
    }


def _curve(
    pools: Pools, parts: Sequence[_Candidate], scored: Scored, blocks: Int[ndarray, ' n']
) -> list[dict[str, Any]]:
    """Return the held-out measures by labelled frames, none of them at first."""
    counts = [0, *(part.frames for part in parts), len(pools.training)]
    return [{'frames': count, **plain(means_of(each, blocks))} for count, each in zip(counts, scored.engines)]


def device_of(name: str) -> torch.device:
    """Return where to train."""
    there = torch.cuda.is_available()
    if name == 'cuda' and not there:
        raise ConfigError('device is cuda, but torch finds no CUDA device. Choose cpu or auto.')
    return torch.device('cuda' if there and name != 'cpu' else 'cpu')
