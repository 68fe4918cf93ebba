"""The running graph: composed at 640x480 and 15 Hz, and the pose node on another process's 720p camera at 30 Hz."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from harness import Row

from hwhup_ros.crib_monitor import find_config, prepare_environment

ROOT = Path(__file__).resolve().parent.parent
COMPOSED_S = 15.0
PUBLISHED_S = 10.0
WARM_UP_FRAMES = 10
FRAME_S = 1 / 30
WEIGHTS = os.environ.get('HWHUP_BENCH_WEIGHTS', 'crib_depth')
"""Weights to run with: bundled ones by name, or a path."""


def rows() -> list[Row]:
    """Return the rows of both set-ups."""
    prepare_environment()
    return [*composed_rows(), *two_process_rows()]


def composed_rows() -> list[Row]:
    """Run the monitor on the synthetic crib and read its report."""
    with tempfile.TemporaryDirectory() as folder:
        parameters = Path(folder) / 'parameters.yaml'
        shipped = find_config('crib_monitor.yaml').read_text()
        parameters.write_text(shipped.replace('weights: crib_depth', f'weights: {WEIGHTS}'))
        report = Path(folder) / 'report.json'
        command = ['-m', 'hwhup_ros.crib_monitor', '--duration', str(COMPOSED_S), '--params', str(parameters)]
        run([*command, '--report', str(report)])
        summary = json.loads(report.read_text())
    latency, memory = summary['latency_ms'], summary['rss_mb']
    growth = memory['end'] - memory['start']
    return [
        Row('composed 640x480: capture to pose, p50', latency['p50'], at_most=60.0, note=f'p95 {latency["p95"]} ms'),
        Row('composed 640x480: poses at 15 Hz published', summary['rate_hz'], 'Hz', at_least=14.5),
        Row('composed 640x480: memory grown', growth, 'MB', at_most=20.0, note=f'of {memory["start"]:.0f} MB'),
    ]


def two_process_rows() -> list[Row]:
    """Run camera and pose node in a process each and count frames that were old when work on them began."""
    camera = subprocess.Popen([sys.executable, str(ROOT / 'benchmarks/two_process_camera.py'), str(PUBLISHED_S + 5.0)])
    try:
        watched = run([str(ROOT / 'benchmarks/two_process_pose.py'), WEIGHTS, str(PUBLISHED_S)])
    finally:
        camera.terminate()
        camera.wait()
    result: dict[str, Any] = json.loads(watched.splitlines()[-1])
    ages = result['ages_s'][WARM_UP_FRAMES:]
    old = sum(age > 2 * FRAME_S for age in ages)
    received = max(result['received'].values())
    return [
        Row(
            'two processes 1280x720 30 Hz: age at start of work, p50',
            1e3 * statistics.median(ages),
            at_most=2e3 * FRAME_S,
            note=f'{len(ages)} poses of {received} frames',
        ),
        Row('two processes 1280x720 30 Hz: poses of frames older than two', float(old), 'frames', at_most=0.0),
    ]


def run(arguments: list[str]) -> str:
    """Run Python with the arguments and return what it printed; its errors go where ours go."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=180, check=True).stdout
