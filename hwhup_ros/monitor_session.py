"""One run of the composed graph: nodes up, progress, report and pictures, nodes down."""

from __future__ import annotations

import shlex
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import rclpy
import yaml
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from tqdm import tqdm

from hwhup_core.recording.tally import Outcome
from hwhup_ros.crib_monitor import Arguments
from hwhup_ros.diagnostics import Counts
from hwhup_ros.live_model import build
from hwhup_ros.marker_node import MarkerNode
from hwhup_ros.pose_node import PoseNode
from hwhup_ros.recorder_node import RecorderNode
from hwhup_ros.replay_node import ReplayNode
from hwhup_ros.report import ReportNode, mean_pose_baseline, write_report
from hwhup_ros.report_numbers import Run
from hwhup_ros.spinning import destroy, spin
from hwhup_ros.synthetic_camera_node import SyntheticCameraNode

NAMESPACE = '/crib'
TICK_S = 0.1
FIRST_POSE_TIMEOUT_S = 60.0
LAST_ANSWER_S = 0.5
"""Time for the answers to the last frames."""
LIVE_SAMPLE_PERIOD_S = 0.5
NO_POSES = 1


def run_session(arguments: Arguments, engine: Any = None) -> int:
    """
    Run the graph to its end and return the exit code: 0 if poses were published.

    `engine` replaces the one that the parameters describe (for tests).
    """
    with tempfile.NamedTemporaryFile('w', suffix='.yaml', prefix='hwhup_monitor_') as overrides:
        yaml.safe_dump(parameters_of(arguments), overrides)
        overrides.flush()
        # Of several parameter files the last one wins; of several remappings the first one does.
        files = ['--params-file', str(arguments.params), '--params-file', overrides.name]
        rclpy.init(
            args=['crib_monitor', '--ros-args', *files, *arguments.ros_args, '-r', f'__ns:={NAMESPACE}'],
            signal_handler_options=SignalHandlerOptions.NO,
        )
        nodes: list[Node] = []
        try:
            return _run_nodes(arguments, engine, nodes)
        finally:
            destroy(nodes)


def parameters_of(arguments: Arguments) -> dict[str, Any]:
    """Return the ROS parameters that the arguments stand for, in the layout of a parameter file."""
    keep = arguments.camera != 'live' or bool(arguments.snapshot or arguments.overlay)
    given: dict[str, dict[str, Any]] = {
        'report_node': {
            'keep_frames': keep,
            'sample_period_s': 0.0 if arguments.camera == 'replay' else LIVE_SAMPLE_PERIOD_S,
        }
    }
    if arguments.replay is not None:
        given['replay_node'] = {'recording': str(arguments.replay), 'pace': arguments.pace}
    if arguments.view_port is not None:
        given['viewer'] = {'port': arguments.view_port}
    if arguments.record is not None:
        given['recorder_node'] = {'folder': str(arguments.record)}
    if arguments.use_depth is not None:
        given['pose_node'] = {'use_depth': arguments.use_depth}
        given['synthetic_camera_node'] = {'publish_depth': arguments.use_depth}
        given.setdefault('recorder_node', {})['use_depth'] = arguments.use_depth
    if arguments.weights is not None:
        given.setdefault('pose_node', {})['engine'] = {'weights': arguments.weights}
    return {f'/**/{node}': {'ros__parameters': values} for node, values in given.items()}


def _run_nodes(arguments: Arguments, engine: Any, nodes: list[Node]) -> int:
    """Make the nodes (into `nodes`, so that they are destroyed whatever happens), run and report."""
    camera = _make_camera(arguments)
    if camera is not None:
        nodes.append(camera)
    report = ReportNode()
    nodes.append(report)
    nodes.append(MarkerNode())
    if arguments.view_port is not None:
        from hwhup_ros.viewer import ViewerNode

        nodes.append(ViewerNode())
    recorder = None if arguments.record is None else RecorderNode()
    if recorder is not None:
        nodes.append(recorder)
    # The pose node comes last: it complains when it waits for images.
    pose = PoseNode(engine=engine)
    nodes.append(pose)
    with _spinning(nodes) as executor:
        if camera is not None:
            camera.start()
        _watch(arguments, report, camera, executor)
        _stop_camera(camera)
        counts = pose.counters
    if recorder is not None:
        _close_recording(recorder)
    _finish(arguments, engine or build(pose.config), report, counts, camera)
    if report.records.poses_published:
        return 0
    print('hwhup monitor: no poses were published; see the log above and /diagnostics.', file=sys.stderr)
    return NO_POSES


def _make_camera(arguments: Arguments) -> ReplayNode | SyntheticCameraNode | None:
    if arguments.camera == 'live':
        return None
    return ReplayNode(autostart=False) if arguments.camera == 'replay' else SyntheticCameraNode(autostart=False)


@contextmanager
def _spinning(nodes: list[Node]) -> Iterator[threading.Thread]:
    """Spin the nodes in a thread, which is returned; SIGTERM ends the run as Ctrl-C does."""
    executor = SingleThreadedExecutor()
    thread = threading.Thread(target=spin, args=(nodes, executor), name='executor', daemon=True)
    before = signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))
    thread.start()
    try:
        yield thread
    finally:
        executor.shutdown()
        thread.join(timeout=5.0)
        signal.signal(signal.SIGTERM, before)


def _watch(
    arguments: Arguments,
    report: ReportNode,
    camera: ReplayNode | SyntheticCameraNode | None,
    executor: threading.Thread,
) -> None:
    """Wait for the end of the run and show how it goes; Ctrl-C is an end like any other."""
    frames = camera.frame_count if isinstance(camera, ReplayNode) and not camera.config.loop else None
    replaying = frames is not None and arguments.duration is None
    total = frames if replaying else arguments.duration
    form = '{l_bar}{bar}| {n:.0f}/{total:.0f} {unit} {postfix}' if total else '{n:.0f} {unit} {postfix}'
    started, first = time.monotonic(), None
    try:
        with tqdm(total=total, unit='frames' if replaying else 's', bar_format=form, mininterval=1.0) as progress:
            while True:
                time.sleep(TICK_S)
                now = time.monotonic()
                poses = report.records.poses_published
                first = now if first is None and poses else first
                elapsed = now - first if first is not None else 0.0
                progress.set_postfix_str(_progress_text(report, elapsed), refresh=False)
                done = poses + report.records.refused
                progress.update((done if replaying else min(elapsed, arguments.duration or elapsed)) - progress.n)
                if arguments.duration is not None and first is not None and elapsed >= arguments.duration:
                    return
                if isinstance(camera, ReplayNode) and camera.finished.is_set():
                    return
                if not executor.is_alive():
                    print('\nhwhup monitor: the nodes stopped; see the log above.', file=sys.stderr)
                    return
                if first is None and arguments.camera != 'live' and now - started > FIRST_POSE_TIMEOUT_S:
                    return
    except KeyboardInterrupt:
        print('\nStopped; the report is being written.', file=sys.stderr)


def _progress_text(report: ReportNode, elapsed: float) -> str:
    records = report.records
    if not records.poses:
        return 'waiting for the first pose'
    last = records.poses[-1]
    mean_rate = records.poses_published / elapsed if elapsed > 1.0 else float('nan')
    state = last.state.name.lower()
    return f'{records.poses_published} poses, {mean_rate:.1f} Hz, {1e3 * last.latency_s:.0f} ms, {state}'


def _stop_camera(camera: ReplayNode | SyntheticCameraNode | None) -> None:
    """Stop the camera and wait for the last answers."""
    if camera is not None:
        camera.stop()
    time.sleep(LAST_ANSWER_S)


def _close_recording(recorder: RecorderNode) -> None:
    """Store what is in work and say what was kept."""
    recorder.trigger_deactivate()
    counts = recorder.counts
    others = ', '.join(f'{code} {number}' for code, number in sorted(counts.reasons.items()))
    kept = counts.outcomes[Outcome.WRITTEN]
    print(f'Recorded {kept} of {counts.arrived} frames to {recorder.config.path()}; not kept: {others or "none"}.')


def _finish(arguments: Arguments, engine: Any, report: ReportNode, counts: Counts, camera: Any) -> None:
    """Write what was asked for and print the numbers; `engine` draws the mesh and knows the mean pose."""
    known = Run(
        command=shlex.join(['hwhup', 'monitor', *sys.argv[1:]]),
        frames_published=camera.published if camera is not None else None,
        frames_received=max(counts.received.values(), default=0),
        dropped={f'{stream} {why}': n for stream, reasons in counts.dropped.items() for why, n in reasons.items()},
        skipped=dict(camera.skipped) if isinstance(camera, ReplayNode) else {},
    )
    baseline = mean_pose_baseline(report.frames, engine) if report.frames is not None else None
    summary = report.summary(known, baseline)
    _write_pictures(arguments, report, engine)
    if arguments.report is not None:
        write_report(arguments.report, summary)
    print(summary_table(summary))


def _write_pictures(arguments: Arguments, report: ReportNode, engine: Any) -> None:
    if arguments.snapshot is None and arguments.overlay is None:
        return
    kept = report.frames.last_good() if report.frames is not None else None
    if kept is None:
        print('hwhup monitor: no good pose, so there is nothing to draw.', file=sys.stderr)
        return
    from hwhup_ros.snapshot import draw_overlay, draw_snapshot, write_png

    vertices, faces = engine.vertices(kept.estimate), engine.body.faces.numpy()
    if arguments.snapshot is not None:
        write_png(arguments.snapshot, draw_snapshot(kept.frame, kept.estimate, vertices, faces))
    if arguments.overlay is not None:
        write_png(arguments.overlay, draw_overlay(kept.frame, kept.estimate, vertices, faces))


def summary_table(summary: dict[str, Any]) -> str:
    """Return the numbers a person wants first, one a line."""
    latency = summary['latency_ms']
    joint, mean_joint = summary['joint_error_mm'], summary['mean_pose_joint_error_mm']
    depth, mean_depth = summary['aligned_depth_error_mm'], summary['mean_pose_aligned_depth_error_mm']
    spread = summary['joint_error_interval_mm']
    rows = {
        'frames published / answered / refused': (
            f'{summary["frames_published"]} / {summary["answered"]} / {summary["refused"]}'
        ),
        'dropped, skipped': f'{summary["dropped"] or "none"}, {summary["skipped"] or "none"}',
        'states': ', '.join(f'{name.lower()} {count}' for name, count in summary['states'].items()),
        'rate': f'{summary["rate_hz"]} Hz',
        'latency p50 / p95 / max': f'{latency["p50"]} / {latency["p95"]} / {latency["max"]} ms',
        'markers, faces a mesh': f'{summary["markers_published"]}, {summary["mesh_faces_per_marker"]}',
        'aligned depth error': (
            'unknown, there is no depth' if depth is None else f'{depth} mm (mean pose {mean_depth} mm)'
        ),
        'joint error': (
            'unknown, there is no truth'
            if joint is None
            else f'{joint} mm, {spread["low"]} to {spread["high"]} (mean pose {mean_joint} mm)'
        ),
        'memory start / end': f'{summary["rss_mb"]["start"]} / {summary["rss_mb"]["end"]} MB',
    }
    width = max(map(len, rows))
    return '\n'.join(f'  {name:<{width}}  {value}' for name, value in rows.items())
