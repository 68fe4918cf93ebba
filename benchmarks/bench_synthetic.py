"""The synthetic crib: frames of the live camera, depth noise, training crops; one core."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from harness import Row, interleaved

from hwhup_core.body.model import load_body
from hwhup_core.synthetic.crops import CropSampling, sample_crops
from hwhup_core.synthetic.sensors import DepthNoise, depth_noise
from hwhup_core.synthetic.stream import CribStream, StreamConfig

CROPS = 64


def rows() -> list[Row]:
    """Return the times of the three jobs on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _measure()
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
