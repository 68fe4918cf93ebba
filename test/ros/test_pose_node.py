"""What becomes of frames in the pose node: answers, refusals and counts, in a real graph."""

import dataclasses
import math
import threading
import time

import cv2
import numpy as np
from pose_graph import (
    BODY,
    CAMERA,
    HEIGHT,
    WAIT,
    WIDTH,
    Camera,
    FakeEngine,
    adds_up,
    distances,
    estimate_at,
    refusals,
    wait_for,
)
from sensor_msgs.msg import CameraInfo, CompressedImage, PointCloud2

from hwhup_core.errors import FrameError
from hwhup_core.networks.packing import Modality
from hwhup_core.types import State
from hwhup_ros.conversions import make_header, to_ns
from hwhup_ros.images import from_array


def test_depth_and_camera_info_in_poses_and_body_model_out(graph):
    engine = FakeEngine()
    node = graph.pose_node(engine)
    camera = Camera(graph)
    camera.wait_for_subscribers()
    wait_for(lambda: graph.listener.count_publishers('smpl_poses'))
    camera.send_info()
    header = camera.send_depth(1.25)
    wait_for(lambda: graph.poses)
    answer = graph.poses[0]
    assert answer.header == header
    assert answer.poses[0].header == header
    assert distances(graph) == [1.25]
    assert answer.poses[0].latency > 0
    assert answer.poses[0].box.width == 20
    assert engine.frames[0].intrinsics == CAMERA
    assert engine.frames[0].color is None
    wait_for(lambda: graph.bodies)
    assert (graph.bodies[0].hash, len(graph.bodies[0].faces)) == (BODY.hash, 3 * 13_776)
    assert node.counters.received == {'depth': 1}
    wait_for(lambda: node.counters.answered == {'depth': 1})
    wait_for(lambda: adds_up(node))
    wait_for(lambda: any(status.message == 'estimating' for status in graph.health))
    values = {pair.key: pair.value for pair in graph.health[-1].values}
    assert values['depth received'] == values['depth answered'] == '1'
    assert float(values['latency p95 [s]']) > 0
    assert BODY.hash in values['body']


def test_image_and_depth_are_paired(graph):
    engine = FakeEngine(Modality.RGB, Modality.DEPTH)
    node = graph.pose_node(engine)
    camera = Camera(graph)
    camera.wait_for_subscribers('image', 'depth', 'info')
    camera.send_info()
    header = camera.header()
    camera.send_image(header)
    camera.send_depth(2.0, header)
    wait_for(lambda: engine.frames)
    assert engine.frames[0].color.shape == (HEIGHT, WIDTH, 3)
    assert engine.frames[0].depth[0, 0] == 2.0
    wait_for(lambda: node.counters.answered == {'image': 1, 'depth': 1})


def test_optional_image_of_the_wrong_size_is_left_out_and_the_depth_answered(graph):
    engine = FakeEngine()
    node = graph.pose_node(engine)
    camera = Camera(graph)
    camera.wait_for_subscribers('image', 'depth', 'info')
    camera.send_info()
    header = camera.header()
    camera.send_image(header, (HEIGHT, WIDTH + 2, 3))
    time.sleep(0.1)
    camera.send_depth(2.0, header)
    wait_for(lambda: node.counters.dropped == {'image': {'size_mismatch': 1}})
    assert engine.frames[0].color is None
    wait_for(lambda: distances(graph) == [2.0])
    wait_for(lambda: adds_up(node))


def test_garbage_is_dropped_by_reason_and_the_next_good_frame_answered(graph):
    node = graph.pose_node(use_image=False, sync__reset_after=3600.0)
    camera = Camera(graph)
    camera.wait_for_subscribers()
    expected = {}

    def dropped(reason):
        expected[reason] = 1
        wait_for(lambda: node.counters.dropped.get('depth', {}).get(reason) == 1)

    camera.send_depth(1.0)  # No camera info yet: it waits, until the next one supersedes it.
    camera.send_depth(1.0)
    dropped('no_camera_info')
    camera.info.publish(CameraInfo(width=WIDTH, height=HEIGHT))
    dropped('zero_camera_info')
    camera.send_info(dataclasses.replace(CAMERA, width=WIDTH + 1))
    time.sleep(0.05)
    refused = [camera.send_depth(1.0)]
    dropped('camera_info_mismatch')
    camera.send_info()
    time.sleep(0.05)
    colour = from_array(np.zeros((HEIGHT, WIDTH, 3), np.uint8), 'rgb8', camera.header())
    camera.depth.publish(colour)
    dropped('wrong_encoding')
    short = from_array(np.zeros((HEIGHT, WIDTH), np.uint16), '16UC1', camera.header())
    del short.data[-10:]
    camera.depth.publish(short)
    dropped('short_data')
    # These were looked at, so that they have a message, which says so by being empty; a bad stamp is refused unseen.
    refused += [colour.header, short.header]
    wait_for(lambda: refusals(graph)[1:] == refused)
    camera.send_depth(1.0, make_header(0, 'camera_optical'))
    dropped('zero_stamp')
    last_ns = to_ns(camera.send_depth(1.5).stamp)
    wait_for(lambda: distances(graph) == [1.5])
    camera.send_depth(1.0, make_header(last_ns - 50_000_000, 'camera_optical'))
    dropped('backward_stamp')
    camera.send_depth(1.0, make_header(last_ns, 'camera_optical'))
    dropped('duplicate_stamp')
    camera.send_depth(1.0, make_header(last_ns + 10**11, 'camera_optical'))
    dropped('future_stamp')
    camera.send_depth(math.nan, encoding='32FC1')  # A frame without a single measurement is a frame.
    wait_for(lambda: distances(graph) == [1.5, 0.0])
    camera.send_depth(1.75)
    wait_for(lambda: distances(graph) == [1.5, 0.0, 1.75])
    wait_for(lambda: node.counters.dropped == {'depth': expected})
    wait_for(lambda: adds_up(node))


def test_sizes_that_differ_are_refused_where_both_are_needed(graph):
    node = graph.pose_node(FakeEngine(Modality.RGB, Modality.DEPTH))
    camera = Camera(graph)
    camera.wait_for_subscribers('image', 'depth', 'info')
    camera.send_info()
    header = camera.header()
    camera.send_image(header)
    camera.send_depth(1.0, header, shape=(HEIGHT // 2, WIDTH // 2))
    wait_for(lambda: node.counters.dropped == {'image': {'size_mismatch': 1}, 'depth': {'size_mismatch': 1}})


def test_an_engine_that_fails_does_not_end_the_node(graph):
    engine = FakeEngine()
    node = graph.pose_node(engine, use_image=False)
    camera = Camera(graph)
    camera.wait_for_subscribers()
    camera.send_info()

    def out_of_memory(frame):
        raise RuntimeError('CUDA out of memory')

    def no_person(frame):
        raise FrameError('no_crop', 'The box lies outside the image.')

    sent = []
    for respond, reason in ((out_of_memory, 'engine_error'), (no_person, 'no_crop')):
        engine.respond = respond
        sent.append(camera.send_depth(1.0))
        wait_for(lambda reason=reason: node.counters.dropped.get('depth', {}).get(reason) == 1)
    wait_for(lambda: refusals(graph) == sent)
    engine.respond = None
    camera.send_depth(1.5)
    wait_for(lambda: distances(graph) == [1.5])
    wait_for(lambda: adds_up(node))
    assert node.counters.answered == {'depth': 1}


def test_refused_frames_do_not_hide_that_the_estimate_is_stale(graph):
    engine = FakeEngine()
    graph.pose_node(engine, stale_after=0.3, use_image=False)
    camera = Camera(graph)
    camera.wait_for_subscribers()
    camera.send_info()
    good = camera.send_depth(1.25)
    wait_for(lambda: distances(graph) == [1.25])

    def refuse(frame):
        raise FrameError('no_crop', 'The box lies outside the image.')

    engine.respond = refuse

    def stale():
        camera.send_depth(1.0)
        time.sleep(0.02)
        return [message for message in graph.poses if message.poses and message.poses[0].state == State.STALE]

    repeated = wait_for(stale)
    assert repeated[0].header == good
    assert len(refusals(graph)) >= 3


def test_a_point_cloud_that_fails_leaves_the_answer_as_it_was(graph):
    node = graph.pose_node(use_image=False)

    def fail(*_):
        raise RuntimeError('cannot pack')

    node._pack = fail
    graph.listener.create_subscription(PointCloud2, 'points', graph.clouds.append, 5)
    camera = Camera(graph)
    camera.wait_for_subscribers()
    wait_for(lambda: node.count_subscribers(f'{graph.namespace}/points'))
    camera.send_info()
    camera.send_depth(1.25)
    wait_for(lambda: any('cannot pack' in pair.value for status in graph.health for pair in status.values))
    assert (node.counters.answered, node.counters.dropped) == ({'depth': 1}, {})
    assert distances(graph) == [1.25]
    assert adds_up(node)


def test_only_the_newest_frame_is_worked_on(graph):
    engine = FakeEngine()
    node = graph.pose_node(engine, use_image=False)
    camera = Camera(graph)
    camera.wait_for_subscribers()
    camera.send_info()
    go_on = threading.Event()

    def slow(frame):
        go_on.wait(WAIT)
        return [estimate_at(frame, float(frame.depth.mean()))]

    engine.respond = slow
    camera.send_depth(1.0)
    wait_for(lambda: engine.frames)
    for step in range(1, 6):
        camera.send_depth(1.0 + step / 10)
        wait_for(lambda step=step: node.counters.received['depth'] == step + 1)
    time.sleep(0.05)
    go_on.set()
    wait_for(lambda: distances(graph) == [1.0, 1.5])
    assert node.counters.dropped == {'depth': {'superseded': 4}}
    wait_for(lambda: adds_up(node))


def test_compressed_input(graph):
    engine = FakeEngine(Modality.RGB, Modality.DEPTH)
    graph.pose_node(engine, image_transport='compressed')
    camera = Camera(graph, compressed=True)
    camera.wait_for_subscribers('image', 'depth', 'info')
    camera.send_info()
    header = camera.header()
    image = CompressedImage(header=header, format='bgr8; png compressed bgr8')
    image.data.frombytes(cv2.imencode('.png', np.full((HEIGHT, WIDTH, 3), (30, 20, 10), np.uint8))[1].tobytes())
    depth = CompressedImage(header=header, format='16UC1; compressedDepth png')
    encoded = cv2.imencode('.png', np.full((HEIGHT, WIDTH), 1250, np.uint16))[1].tobytes()
    depth.data.frombytes(b'\0' * 12 + encoded)
    camera.image.publish(image)
    camera.depth.publish(depth)
    wait_for(lambda: distances(graph) == [1.25])
    assert list(engine.frames[0].color[0, 0]) == [10, 20, 30]


def test_points_are_made_for_whoever_listens(graph):
    graph.pose_node(points_stride=4, use_image=False)
    camera = Camera(graph)
    camera.wait_for_subscribers()
    camera.send_info()
    camera.send_depth(1.0)
    wait_for(lambda: graph.poses)
    graph.listener.create_subscription(PointCloud2, 'points', graph.clouds.append, 5)
    wait_for(lambda: graph.listener.count_publishers('points'))

    def arrived():
        camera.send_depth(1.0)
        time.sleep(0.05)
        return graph.clouds

    wait_for(arrived)
    assert graph.clouds[0].width == WIDTH * HEIGHT // 16
    assert graph.clouds[0].header.frame_id == 'camera_optical'
