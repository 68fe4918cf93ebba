"""The synthetic crib and domains: the live camera, depth noise, training crops on one core; subjects on two."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from harness import Row, interleaved

from hwhup_core.body.model import load_body
from hwhup_core.synthetic.crops import CropSampling, sample_crops
from hwhup_core.synthetic.domain import Cover, DomainConfig
from hwhup_core.synthetic.sensors import DepthNoise, depth_noise
from hwhup_core.synthetic.slp_layout import subject_folder, truth_file, write_subject
from hwhup_core.synthetic.stream import CribStream, StreamConfig
from hwhup_core.synthetic.subjects import subject_poses

CROPS = 64
SUBJECTS = 6
WORKERS = 2
DEPTH_ONLY = DomainConfig()
EVERYTHING = DomainConfig(modalities=('depth', 'color', 'infrared', 'pressure'), covers=tuple(Cover))


def rows() -> list[Row]:
    """Return the times of the live camera and of crops on one thread, and of domains on two processes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _measure() + _measure_domains()
    finally:
        torch.set_num_threads(threads)


def _measure() -> list[Row]:
    stream, body, rng = CribStream(StreamConfig(), seed=0), load_body('infant'), np.random.default_rng(0)
    frame, _ = stream.frame(0, 0.0)
    depth = frame.depth
    assert depth is not None
    live = _live(stream)
    took = interleaved({'frame': live, 'noise': lambda: depth_noise(depth, rng, DepthNoise())}, repeats=40)
    crops = interleaved({'crops': lambda: sample_crops(body, rng, CropSampling(), CROPS)}, repeats=5)['crops']
    return [
        Row(name='synthetic crib: one 640x480 colour + depth frame with truth', ours=took['frame'], at_most=15.0),
        Row(name='synthetic crib: depth noise on 640x480', ours=took['noise'], at_most=8.0),
        Row(
            name='synthetic crib: training crops (rendered at 224, shrunk to 112)',
            ours=CROPS / crops * 1000,
            unit='crops/s',
            at_least=150.0,
        ),
    ]


def _live(stream: CribStream) -> Callable[[], object]:
    """Return a job that renders the next frame of a 15 Hz camera."""
    counter = iter(range(1_000_000))
    return lambda: stream.frame(0, next(counter) / 15)


def _measure_domains() -> list[Row]:
    """Return frames a second (each cover counts) of a bed at 224 x 224, rendered only and written in SLP's layout."""
    cases = (('depth', DEPTH_ONLY, 150.0), ('all modalities, 3 covers', EVERYTHING, 30.0))
    result = []
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(WORKERS, mp_context=context) as executor, tempfile.TemporaryDirectory() as folder:
        for label, config, target in cases:
            for how, job in (('rendered', _render), ('rendered and written', partial(_write, Path(folder) / label))):
                name = f'synthetic bed, {label}: {how}, 224x224, {WORKERS} processes'
                rate = _rate(executor, partial(job, config), config)
                result.append(Row(name=name, ours=rate, unit='frames/s', at_least=target))
    return result


def _rate(executor: ProcessPoolExecutor, job: Callable[[int], None], config: DomainConfig) -> float:
    """Return frames a second after a turn that pays for starting and compiling."""
    list(executor.map(job, range(1, WORKERS + 1)))
    start = time.perf_counter()
    list(executor.map(job, range(1, SUBJECTS + 1)))
    return SUBJECTS * config.poses * len(config.covers) / (time.perf_counter() - start)


def _render(config: DomainConfig, subject: int) -> None:
    torch.set_num_threads(1)
    for _ in subject_poses(config, load_body(config.body), 0, subject):
        pass


def _write(root: Path, config: DomainConfig, subject: int) -> None:
    torch.set_num_threads(1)
    body = load_body(config.body)
    poses = subject_poses(config, body, 0, subject)
    write_subject(subject_folder(root, subject), truth_file(root / 'truth', subject), poses, config, body)
