"""
Bags in and out: 640x480 colour and depth, all gates on, every frame kept.

The limit is arithmetic: of a raw frame reading takes 3 ms of a core, decoding 2 ms, the gates 1 ms, the JPEG 1 ms, the
depth PNG 5 ms and writing 1 ms. The processor's time is told beside the rate: neighbours spoil the rate first.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from harness import Row, notes, table

from hwhup_core.data.recording import open_recording
from hwhup_core.data.recording_card import RecordingCard
from hwhup_core.data.recording_writer import RecordingWriter
from hwhup_core.recording.config import GateConfig, NoveltyConfig, RecorderConfig, StorageConfig
from hwhup_core.types import Frame, Intrinsics

FRAMES = 300
SIZE = (480, 640)
CAMERA = Intrinsics(610.0, 610.0, 320.0, 240.0, SIZE[1], SIZE[0])
CARD = RecordingCard('bench', 'optical', CAMERA)
LEAST_RATE = 100.0
NOISE_M, NOISE_WIDTH = 0.006, 1.5
"""Standard deviation before smoothing, and width of the smoothing in pixels."""


def rows() -> list[Row]:
    """Return the rates of exporting and importing a bag with raw and one with compressed colour."""
    from hwhup_ros.bag_export import export_bag

    with tempfile.TemporaryDirectory(dir=os.environ.get('HWHUP_BENCH_DISK')) as place:
        folder = Path(place)
        write_recording(folder / 'recording')
        _warm_up(folder)
        found = []
        for name, raw in (('stored JPEG', False), ('raw colour', True)):
            bag = folder / f'bag_{raw}'
            found.append(_row(f'export, {name}', partial(export_bag, folder / 'recording', bag, raw)))
            found.append(_row(f'import, {name}', partial(_import, bag, folder / f'in_{raw}'), LEAST_RATE))
        _require_same(folder / 'recording', folder / 'in_True')
        return found


def _warm_up(folder: Path) -> None:
    """Load what is loaded once: the libraries, and the message types that rosbags compiles."""
    from hwhup_ros.bag_export import export_bag

    write_recording(folder / 'small', 3)
    export_bag(folder / 'small', folder / 'small_bag')
    _import(folder / 'small_bag', folder / 'small_again', 3)


def _import(bag: Path, out: Path, frames: int = FRAMES) -> None:
    from hwhup_ros.bag_import import ImportRequest, import_bag

    gates = GateConfig(least_sharpness=0.0)
    storage = StorageConfig(least_free_mb=100)
    config = RecorderConfig('full', gates=gates, novelty=NoveltyConfig(enabled=False), storage=storage)
    report = import_bag(ImportRequest(bag, out, config=config))
    if report.written != frames:
        raise RuntimeError(f'{report.written} of {frames} frames were imported: {dict(report.counts.reasons)}')


def _row(name: str, work: Callable[[], object], at_least: float | None = None) -> Row:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    note = f'{1e3 * cpu / FRAMES:.1f} ms of processor a frame, load average {os.getloadavg()[0]:.1f}'
    return Row(f'bag 640x480 colour + depth: {name}', FRAMES / wall, 'frames/s', at_least=at_least, note=note)


def write_recording(folder: Path, frames: int = FRAMES) -> None:
    """Write frames of a tilted plane; smoothed noise makes the depth PNG as large as a RealSense's, 125 kB."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] / 100.0
    plane = (1.2 + 0.05 * columns + 0.02 * np.sin(7 * rows)).astype(np.float32)
    color = np.stack([128 + 60 * np.sin(rows * k) + 40 * np.cos(columns * k) for k in (1.0, 2.0, 3.0)], axis=2)
    noise = np.stack([smoothed_noise(rng) for _ in range(8)])
    holes = rng.random((8, SIZE[0] // 8, SIZE[1] // 8)).repeat(8, 1).repeat(8, 2) < 0.05
    with RecordingWriter(folder, CARD, sync_every=100) as writer:
        for number in range(frames):
            k = number % 8
            depth = np.where(holes[k], 0, plane + noise[k])
            grain = rng.integers(-4, 5, color.shape[:2])[..., None]
            picture = np.clip(color + grain, 0, 255).astype(np.uint8)
            frame = Frame(10**18 + number * 33_333_333, 'optical', picture, depth, intrinsics=CAMERA)
            writer.write(frame, {})


def smoothed_noise(rng: np.random.Generator) -> np.ndarray:
    """Return noise of a stereo camera (m): neighbours are matched together, so they err together."""
    return cv2.GaussianBlur(rng.normal(0, NOISE_M, SIZE).astype(np.float32), (0, 0), NOISE_WIDTH)


def _require_same(one: Path, other: Path) -> None:
    """Raise unless the depth came back as it went out."""
    first, again = open_recording(one), open_recording(other)
    for number in (0, FRAMES - 1):
        if not np.array_equal(first.frame(number).depth, again.frame(number).depth):
            raise RuntimeError(f'The depth of frame {number} came back changed.')


if __name__ == '__main__':
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    sys.path += [str(Path(__file__).resolve().parent.parent)]
    print(table(result := rows()))
    print(notes(result))
