"""
The recorder on another process's camera: 640x480 colour and depth at 30 Hz, every frame kept.

`python benchmarks/bench_recorder.py 300` runs it for five minutes.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from harness import Row, table

from hwhup_core.data.recording import check_recording, open_recording

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 60.0
RATE_HZ = 30.0
SAMPLE_S = 1.0
WARM_UP = 5
"""Samples before memory counts: queues fill, buffers of the middleware grow."""
KEEP_ALL = {
    'novelty.enabled': 'false',
    'privacy': 'full',
    'image_reliability': 'reliable',
    'gates.least_sharpness': '0.0',
    'estimate_wait': '0.0',
}
TICKS = os.sysconf('SC_CLK_TCK')


@dataclass(frozen=True)
class Usage:
    """What a process takes."""

    cpu_s: float
    rss_mb: float


def rows(seconds: float = SECONDS) -> list[Row]:
    """Return the rows of one run."""
    with tempfile.TemporaryDirectory(dir=os.environ.get('HWHUP_BENCH_DISK')) as folder:
        published, usage, span, load = record(Path(folder) / 'r', seconds)
        recording = open_recording(Path(folder) / 'r')
        whole = check_recording(Path(folder) / 'r').ok
        size_mb = sum(file.size for each in recording.frames for file in each.files.values()) / 1e6
        card = recording.card
        shutil.rmtree(Path(folder) / 'r')
    memory = [each.rss_mb for each in usage[WARM_UP:]]
    cpu = (usage[-1].cpu_s - usage[WARM_UP].cpu_s) / ((len(usage) - 1 - WARM_UP) * SAMPLE_S)
    lost = published - len(recording)
    name = f'recorder 640x480 colour + depth at {RATE_HZ:g} Hz, {seconds:g} s'
    what = json.dumps({'published': published, 'not kept': card.rejected, 'whole': whole, 'load average': load})
    return [
        Row(f'{name}: frames lost', float(lost), 'frames', at_most=0.0, note=what),
        Row(f'{name}: written', size_mb / span, 'MB/s', note=f'{len(recording)} frames, {size_mb:.0f} MB'),
        Row(f'{name}: processor', 100 * cpu, '% of a core', at_most=100.0),
        Row(
            f'{name}: memory grown',
            statistics.median(memory[-5:]) - statistics.median(memory[:5]),
            'MB',
            at_most=20.0,
            note=f'of {memory[0]:.0f} MB',
        ),
    ]


def record(folder: Path, seconds: float) -> tuple[int, list[Usage], float, float]:
    """Run camera and recorder; return frames published, samples of the recorder, seconds, load average."""
    parameters = {'folder': str(folder), **KEEP_ALL}
    given = [part for name, value in parameters.items() for part in ('-p', f'{name}:={value}')]
    command = [sys.executable, '-m', 'hwhup_ros.recorder_node', '--ros-args', '-r', '__ns:=/crib', *given]
    camera_command = [sys.executable, str(ROOT / 'benchmarks/recorder_camera.py'), str(seconds), '--rate', str(RATE_HZ)]
    recorder = subprocess.Popen(command, cwd=ROOT)
    camera = subprocess.Popen(camera_command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    usage: list[Usage] = []
    while camera.poll() is None:
        time.sleep(SAMPLE_S)
        if (folder / 'index.jsonl').is_file():
            usage.append(used(recorder.pid))
    assert camera.stdout is not None
    published = int(camera.stdout.read())
    time.sleep(1.0)
    recorder.send_signal(signal.SIGINT)
    recorder.wait(60)
    return published, usage[:-1], seconds, os.getloadavg()[0]


def used(pid: int) -> Usage:
    """Return what Linux says of a process."""
    fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    pages = int(Path(f'/proc/{pid}/statm').read_text().split()[1])
    return Usage((int(fields[11]) + int(fields[12])) / TICKS, pages * os.sysconf('SC_PAGE_SIZE') / 1e6)


if __name__ == '__main__':
    print(table(result := rows(float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS)))
    print('\n'.join(f'- {row.name}: {row.note}' for row in result if row.note))
