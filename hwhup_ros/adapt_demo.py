"""
The whole loop in one program: a depth camera is borrowed, a room recorded, colour weights adapted, the camera returned.

    record   synthetic crib live -> pose node (depth weights) -> recorder
    offline  hwhup recording check, label auto, adapt --input rgb, deploy: the commands that a user types
    live     the same monitor, depth off: the weights before and after take turns through ~/load_model

The camera goes on where it stopped, so that nothing which was recorded is shown again; it rests while the cores train.
Its exact truth is used for the two joint errors and nowhere else.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from std_srvs.srv import SetBool
from tqdm import tqdm

from hwhup_core.errors import HwhupError
from hwhup_core.types import State
from hwhup_ros.crib_monitor import find_config
from hwhup_ros.msg import RecorderStatus
from hwhup_ros.pose_node import PoseNode
from hwhup_ros.recorder_node import RecorderNode
from hwhup_ros.report import ReportNode
from hwhup_ros.report_numbers import BLOCK_S, PoseRecord, block_interval, mean, rounded
from hwhup_ros.spinning import destroy, spin
from hwhup_ros.srv import LoadModel
from hwhup_ros.synthetic_camera_node import SyntheticCameraNode

NAMESPACE = '/crib'
BEFORE = 'crib_rgb_source'
"""Colour weights that have seen other cribs."""
DEPTH_WEIGHTS = 'crib_depth'
MOTION_STEPS = 200
"""The infant moves for ten minutes before it repeats itself, longer than the demo watches it."""
SETTLE_S = 2.0
SERVICE_S = 120.0


@dataclass(frozen=True)
class DemoConfig:
    """How long each part takes."""

    out: Path
    record_s: float
    """Seconds of recording."""
    turns: int
    """How often each of the two sets of weights watches, depth off."""
    turn_s: float
    """Seconds of each turn."""
    hours: float
    """The most time for training."""
    min_interval_s: float
    """Between two recorded frames."""


def parse(argv: Sequence[str]) -> DemoConfig:
    """Return the arguments."""
    parser = argparse.ArgumentParser(prog='adapt_demo', description='From a room to a better model: the whole loop.')
    parser.add_argument('--out', type=Path, default=Path('out/adapt'), help='new folder for everything (%(default)s)')
    parser.add_argument('--record', type=float, default=150.0, help='seconds of recording (%(default)s)')
    parser.add_argument('--turns', type=int, default=3, help='turns of each set of weights (%(default)s)')
    parser.add_argument('--turn', type=float, default=20.0, help='seconds of a turn (%(default)s)')
    parser.add_argument('--hours', type=float, default=0.25, help='the most time for training (%(default)s)')
    parser.add_argument('--min-interval', type=float, default=0.5, help='seconds between recorded frames (%(default)s)')
    given = parser.parse_args(argv)
    return DemoConfig(given.out, given.record, given.turns, given.turn, given.hours, given.min_interval)


def run_demo(config: DemoConfig) -> int:
    """Run everything; 0 if the adapted weights are better on what was never recorded, by more than the intervals."""
    config.out.mkdir(parents=True, exist_ok=True)
    recording, run, store = (config.out / name for name in ('recording', 'run', 'models'))
    with _graph(config, recording) as nodes:
        camera, report, pose, _ = nodes
        _wait('record', config.record_s)
        pose_counts, status = _stop_recording(nodes)
        steps = _offline(config, recording, run, store)
        camera.take_depth_away()
        report.records.poses.clear()
        _enable(nodes, True)
        camera.rest(False)
        hashes = _take_turns(nodes, config, (BEFORE, str(_current(store))))
        swaps = dict(pose.counters.dropped)
    content = _content(config, run, hashes, list(report.records.poses), status, steps)
    content['frames'].update(lost_live=_lost(pose_counts), lost_in_turns=swaps)
    file = config.out / 'report.json'
    file.write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')
    print(table(content))
    print(f'wrote {file}')
    return 0 if content['better'] else 1


@contextmanager
def _graph(config: DemoConfig, recording: Path) -> Iterator[tuple[Any, Any, Any, Any]]:
    """Run camera, report, pose node and recorder in one process."""
    with tempfile.NamedTemporaryFile('w', suffix='.yaml', prefix='hwhup_demo_') as overrides:
        json.dump(_parameters(config, recording), overrides)  # JSON is YAML.
        overrides.flush()
        files = ['--params-file', str(find_config('crib_monitor.yaml')), '--params-file', overrides.name]
        rclpy.init(
            args=['adapt_demo', '--ros-args', *files, '-r', f'__ns:={NAMESPACE}'],
            signal_handler_options=SignalHandlerOptions.NO,
        )
        nodes: list[Node] = []
        executor = SingleThreadedExecutor()
        try:
            camera = SyntheticCameraNode(autostart=False)
            nodes += [camera, ReportNode(), PoseNode(), RecorderNode()]
            thread = threading.Thread(target=spin, args=(nodes, executor), daemon=True)
            thread.start()
            camera.start()
            yield tuple(nodes)  # type: ignore[misc]
        finally:
            executor.shutdown()
            destroy(nodes)


def _parameters(config: DemoConfig, recording: Path) -> dict[str, Any]:
    given = {
        'synthetic_camera_node': {'motion_steps': MOTION_STEPS},
        'pose_node': {'engine': {'weights': DEPTH_WEIGHTS}},
        'recorder_node': {
            'folder': str(recording),
            'camera': 'synthetic crib',
            'operator': 'adapt_demo',
            'consent': 'a synthetic infant',
            'privacy': 'full',
            'storage': {'least_free_mb': 500.0},
            # Every few tenths of a second of this restless infant; a real night has hours of nothing.
            'novelty': {'min_interval_s': config.min_interval_s, 'change': 0.005},
        },
    }
    return {f'/**/{node}': {'ros__parameters': values} for node, values in given.items()}


def _wait(what: str, seconds: float) -> None:
    for _ in tqdm(range(round(seconds)), desc=what, unit='s', mininterval=5.0):
        time.sleep(1.0)


def _stop_recording(nodes: tuple[Any, Any, Any, Any]) -> tuple[Any, RecorderStatus]:
    """End the recording and let the pose node rest: the cores are wanted for training."""
    camera, _, pose, recorder = nodes
    camera.rest(True)
    time.sleep(SETTLE_S)
    recorder.trigger_deactivate()
    _enable(nodes, False)
    return pose.counters, recorder.status_message()


def _enable(nodes: tuple[Any, Any, Any, Any], enabled: bool) -> None:
    _ask(nodes, SetBool, 'enable', SetBool.Request(data=enabled))


def _ask(nodes: tuple[Any, Any, Any, Any], kind: Any, name: str, request: Any) -> Any:
    """Call a service of the pose node through the graph, as any other node would."""
    report = nodes[1]
    client = report.create_client(kind, f'{NAMESPACE}/pose_node/{name}')
    future = client.call_async(request)
    deadline = time.monotonic() + SERVICE_S
    while not future.done():
        if time.monotonic() > deadline:
            raise HwhupError(f'{NAMESPACE}/pose_node/{name} does not answer.')
        time.sleep(0.01)
    report.destroy_client(client)
    return future.result()


def _offline(config: DemoConfig, recording: Path, run: Path, store: Path) -> list[dict[str, Any]]:
    """Do what a user types, one command after the other."""
    commands = [
        ['recording', 'check', str(recording)],
        ['label', 'auto', str(recording), '--weights', DEPTH_WEIGHTS],
        ['adapt', str(recording), '--input', 'rgb', '--weights', BEFORE, '--body', 'infant', '--out', str(run),
         '--hours', str(config.hours)],
        ['deploy', str(run)],
    ]  # fmt: skip
    return [_command(command, store) for command in commands]


def _command(arguments: list[str], store: Path) -> dict[str, Any]:
    shown = shlex.join(['hwhup', *arguments])
    print(f'\n$ {shown}', flush=True)
    begin = time.monotonic()
    environment = {**os.environ, 'HWHUP_MODELS': str(store.resolve())}
    done = subprocess.run([sys.executable, '-m', 'hwhup_core.cli', *arguments], env=environment, check=False)
    if done.returncode:
        raise HwhupError(f'`{shown}` ended with code {done.returncode}; see above.')
    return {'command': shown, 'seconds': rounded(time.monotonic() - begin)}


def _current(store: Path) -> Path:
    from hwhup_core.deploy.store import DEFAULT_NAME, find

    return find(store, DEFAULT_NAME).weights.resolve()


def _take_turns(nodes: tuple[Any, Any, Any, Any], config: DemoConfig, weights: tuple[str, str]) -> tuple[str, str]:
    """Let both sets of weights watch in turns; return their hashes."""
    hashes = {}
    for turn in range(config.turns):
        for each in weights:
            answer = _ask(nodes, LoadModel, 'load_model', LoadModel.Request(weights=each))
            if not answer.success:
                raise HwhupError(answer.message)
            hashes[each] = answer.weights_hash
            _wait(f'turn {turn + 1}, {Path(each).stem if "/" in each else each}', config.turn_s)
    return hashes[weights[0]], hashes[weights[1]]


def _content(
    config: DemoConfig,
    run: Path,
    hashes: tuple[str, str],
    records: list[PoseRecord],
    status: RecorderStatus,
    steps: list[dict[str, Any]],
) -> dict[str, Any]:
    adapted = json.loads((run / 'report.json').read_text(encoding='utf-8'))
    sides = {}
    for name, weights_hash in zip(('before', 'after'), hashes):
        sides[name] = {
            **_joint_error([record for record in records if record.weights_hash == weights_hash]),
            'aligned_depth_error_mm': adapted[name]['aligned_depth_error_mm'],
            'weights_hash': weights_hash,
        }
    before, after = (sides[name]['joint_error_mm'] for name in ('before', 'after'))
    better = None not in (before['low'], after['high']) and after['high'] < before['low']
    frames = {
        'seen': status.frames_in,
        'recorded': status.frames_written,
        'not_kept': dict(zip(status.reasons, map(int, status.reason_counts))),
        'lost': status.frames_dropped,
        **{key: adapted['frames'].get(key) for key in ('labelled', 'training', 'validation', 'held_out')},
    }
    return {'better': better, **sides, 'frames': frames, 'verdict_held_out': adapted['verdict'], 'steps': steps}


def _joint_error(records: list[PoseRecord]) -> dict[str, Any]:
    """Return the joint error of all answered frames with the interval over pieces of the run, and what was answered."""
    times = [record.received_s for record in records]
    errors = [1e3 * record.joint_error_m for record in records]
    known = int(np.isfinite(errors).sum())
    interval = block_interval(times, errors)
    return {
        'joint_error_mm': {'value': mean(errors), **interval, 'frames': known, 'piece_s': BLOCK_S},
        'states': {state.name: sum(record.state == state for record in records) for state in State},
    }


def _lost(counts: Any) -> dict[str, int]:
    return {f'{stream} {why}': n for stream, reasons in counts.dropped.items() for why, n in reasons.items()}


def table(content: dict[str, Any]) -> str:
    """Return the outcome as one table."""
    frames = content['frames']

    def both(figure: str) -> tuple[str, str]:
        return _cell(content['before'][figure]), _cell(content['after'][figure])

    rows = [
        ('', 'before', 'after'),
        ('joint error, live, depth off', *both('joint_error_mm')),
        ('aligned depth error, held-out frames', *both('aligned_depth_error_mm')),
        ('frames recorded / labelled / lost', f'{frames["recorded"]} / {frames["labelled"]} / {frames["lost"]}', ''),
        ('better by more than the intervals', 'yes' if content['better'] else 'no', ''),
    ]
    width = max(len(row[0]) for row in rows)
    return '\n'.join(f'  {name:<{width}}  {first:<34} {second}' for name, first, second in rows)


def _cell(figure: dict[str, Any]) -> str:
    def number(key: str) -> str:
        value = figure.get(key)
        return '?' if value is None else f'{value:.1f}'

    return f'{number("value")} mm ({number("low")} to {number("high")})'


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; a wrong step ends it with one line."""
    try:
        return run_demo(parse(sys.argv[1:] if argv is None else argv))
    except HwhupError as error:
        print(f'adapt_demo: error: {error}', file=sys.stderr)
        return 2


if __name__ == '__main__':
    sys.exit(main())
