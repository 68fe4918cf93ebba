"""The weights that come with the package: in a pose node, and in the monitor on a recording."""

import dataclasses
import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from pose_graph import Camera, adds_up, refusals, wait_for

from hwhup_core.inference import EngineConfig, build_engine
from hwhup_core.synthetic.stream import CribStream, StreamConfig
from hwhup_core.types import State
from hwhup_ros.conversions import to_ns
from hwhup_ros.images import depth_pixels, from_array

COUNT = 8
HOLES = 3
"""This frame of the recording holds no measurement at all."""
PATIENCE_S = 90.0
SEEN = (State.ESTIMATED, State.LOW_CONFIDENCE)


def test_nobody_is_an_answer_and_holes_are_refused(graph, bundled_weights):
    node = graph.pose_node(build_engine(EngineConfig(weights=bundled_weights, threads=1)), use_image=False)
    stream = CribStream(StreamConfig(width=320, height=240, focal_px=280.0), seed=1)
    camera = Camera(graph)
    camera.wait_for_subscribers()
    camera.send_info(stream.intrinsics)

    def send(depth):
        """Publish one depth image and return the message that comes for it."""
        header = camera.header()
        camera.depth.publish(from_array(depth_pixels(depth, '16UC1'), '16UC1', header))
        return wait_for(lambda: next((message for message in list(graph.poses) if message.header == header), None))

    bed = np.full((240, 320), 1.3, np.float32)
    (nobody,) = send(bed).poses
    assert nobody.state == State.NO_PERSON
    assert np.isnan(nobody.confidence)
    assert send(np.zeros_like(bed)).poses == []
    wait_for(lambda: node.counters.dropped == {'depth': {'empty_depth': 1}})
    frame, truth = stream.frame(0, 0.0)
    (infant,) = send(frame.depth).poses
    assert infant.state in SEEN
    assert abs(infant.root.position.z - truth.joints[0, 2]) < 0.1
    wait_for(lambda: adds_up(node))
    assert (node.counters.received, node.counters.answered) == ({'depth': 3}, {'depth': 2})
    assert [to_ns(header.stamp) for header in refusals(graph)] == [to_ns(graph.poses[1].header.stamp)]


@pytest.fixture
def recording(tmp_path):
    """Record a synthetic crib, one frame of it without depth."""
    folder = tmp_path / 'recording'
    for kind in ('color', 'depth'):
        (folder / kind).mkdir(parents=True)
    stream = CribStream(StreamConfig(), seed=1)
    for index in range(COUNT + 1):
        frame, _ = stream.frame(0, 0.2 * index)
        depth = np.zeros_like(frame.depth) if index == HOLES else frame.depth
        cv2.imwrite(str(folder / f'color/{index:05}.png'), frame.color[..., ::-1])
        cv2.imwrite(str(folder / f'depth/{index:05}.png'), depth_pixels(depth, '16UC1'))
    camera = stream.intrinsics
    values = dataclasses.asdict(dataclasses.replace(camera, cx=camera.cx - 0.5, cy=camera.cy - 0.5))
    (folder / 'camera.json').write_text(
        json.dumps({name: values[name] for name in ('width', 'height', 'fx', 'fy', 'cx', 'cy')})
    )
    return folder


@pytest.mark.timeout(200)
def test_a_recording_is_played_to_its_end_and_reported(recording, bundled_weights, tmp_path):
    command = [sys.executable, '-m', 'hwhup_ros.crib_monitor', '--replay', recording]
    report, picture = tmp_path / 'out/report.json', tmp_path / 'out/mesh.png'
    ended = subprocess.run(
        [*map(str, command), '--report', str(report), '--snapshot', str(picture)],
        capture_output=True, text=True, timeout=PATIENCE_S, env=os.environ,
    )  # fmt: skip
    log = ended.stdout + ended.stderr
    assert ended.returncode == 0, log
    written = json.loads(report.read_text())
    assert (written['frames_published'], written['answered'], written['refused']) == (COUNT + 1, COUNT, 1), log
    assert (written['unanswered'], written['poses_published'], written['skipped']) == (0, COUNT, {}), log
    # The image is optional here and may come too late for its depth.
    lost = {why: count for why, count in written['dropped'].items() if why.startswith('depth')}
    assert lost == {'depth empty_depth': 1}
    assert written['frames_received'] == COUNT + 1
    assert written['states'].keys() <= {state.name for state in SEEN}
    assert sum(written['states'].values()) == COUNT
    assert written['mesh_faces_per_marker'] == 13776
    assert 0 < written['aligned_depth_error_mm'] < written['mean_pose_aligned_depth_error_mm']
    assert written['latency_ms']['p95'] > 0
    assert written['rate_hz'] > 0
    assert len(written['weights_hash']) == len(written['body']['hash']) == 64
    assert written['command'].startswith('hwhup monitor --replay')
    assert 'No poses for frame' not in log, 'a refusal is an answer to the replay'
    assert cv2.imread(str(picture)).std() > 5
    assert f'{COUNT + 1} / {COUNT} / 1' in log
