"""Other weights in a running pose node: no frame lost, no stale hash; bad ones change nothing."""

import itertools
import math
import shutil
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from hwhup_ros.srv import LoadModel
from pose_graph import BODY, Camera, FakeEngine, Graph, adds_up, estimate_at, wait_for

import hwhup_ros.pose_node
from hwhup_core.errors import AssetError
from hwhup_core.inference import EngineConfig, build_engine
from hwhup_core.inference.engine import BUNDLED_WEIGHTS
from hwhup_core.networks.card import Measurement
from hwhup_core.networks.checkpoint import load_checkpoint, save_checkpoint
from hwhup_core.networks.packing import Modality
from hwhup_core.synthetic.stream import CribStream, StreamConfig
from hwhup_ros.conversions import to_ns
from hwhup_ros.images import depth_pixels, from_array
from hwhup_ros.live_model import PROBATION_FRAMES, live_model

RATE_HZ = 15.0


class NamedEngine(FakeEngine):
    """Answers with its own hash; takes a while, as a real one does."""

    def __init__(self, name, *modalities, seconds=0.02, error=math.nan):
        super().__init__(*modalities)
        self.loaded.card.weights_hash = name
        self.loaded.card.metrics = {} if math.isnan(error) else {'aligned_depth_error_mm': Measurement(error, 0, 0, 1)}
        self.seconds, self.followed = seconds, None

    def take_over(self, other):
        self.followed = other

    def __call__(self, frame):
        time.sleep(self.seconds)
        (answer,) = super().__call__(frame)
        answer.__dict__['weights_hash'] = self.loaded.card.weights_hash
        return [answer]


@pytest.fixture
def shelf(monkeypatch):
    """Weights by name, instead of files."""
    engines = {}

    def load(weights, config, present):
        time.sleep(0.3)
        if weights not in engines:
            raise AssetError(f'Cannot read the weights {weights}.')
        return live_model(engines[weights], config)

    monkeypatch.setattr(hwhup_ros.pose_node, 'load', load)
    return engines


class Stream:
    """
    Publishes depth, colour and camera info from a thread, the stamps kept.

    At a fixed rate, but never before the last frame was answered: on a busy machine frames may come later, and every
    one that has no answer is a fault of the node.
    """

    def __init__(self, graph: Graph, camera: Camera, send, rate=RATE_HZ):
        self.camera = camera
        self.sent = []
        self._graph, self._before = graph, len(graph.poses)
        self._send, self._period = send, 1 / rate
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        for number in itertools.count():
            due = time.monotonic() + self._period
            if self._end.is_set():
                return
            header = self.camera.header()
            self._send(self.camera, header, number)
            self.sent.append(to_ns(header.stamp))
            wait_for(lambda number=number: len(self._graph.poses) > self._before + number)
            time.sleep(max(due - time.monotonic(), 0.0))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()


def camera_of(graph):
    camera = Camera(graph)
    camera.wait_for_subscribers('image', 'depth', 'info')
    return camera


def send_both(camera, header, number):
    camera.send_info()
    camera.send_depth(1.0 + number / 1000, header)
    camera.send_image(header)


def call(graph, node, weights):
    client = graph.listener.create_client(LoadModel, f'{graph.namespace}/pose_node/load_model')
    assert client.wait_for_service(10.0)
    future = client.call_async(LoadModel.Request(weights=weights))
    wait_for(future.done)
    answer = future.result()
    graph.listener.destroy_client(client)
    return answer


def hashes(graph):
    return [message.poses[0].weights_hash for message in list(graph.poses) if message.poses]


@pytest.mark.parametrize('modality', [Modality.DEPTH, Modality.RGB], ids=['same_input', 'depth_to_rgb'])
def test_no_frame_is_lost_and_no_hash_is_stale(graph, shelf, modality):
    old = NamedEngine('old')
    new = shelf['new'] = NamedEngine('new', modality)
    node = graph.pose_node(old)
    with Stream(graph, camera_of(graph), send_both) as stream:
        wait_for(lambda: len(graph.poses) > 10)
        asked = len(graph.poses)
        answer = call(graph, node, 'new')
        published = len(graph.poses)
        wait_for(lambda: len(graph.poses) > published + 15)
    assert (answer.success, answer.weights_hash) == (True, 'new')
    assert published > asked + 1  # The old weights answered while the new ones were loaded.
    assert new.followed is old
    wait_for(lambda: adds_up(node))
    assert lost(node) == {}
    wait_for(lambda: [to_ns(message.header.stamp) for message in graph.poses] == stream.sent)
    found = hashes(graph)
    assert found == sorted(found, reverse=True)  # Only old ones, then only new ones.
    assert set(found[published + 1 :]) == {'new'}
    assert {'old', 'new'} == set(found)


def lost(node):
    """Return why depth images had no answer; colour is optional, and one that is late is passed over."""
    return node.counters.dropped.get('depth', {})


def test_weights_that_cannot_be_loaded_change_nothing(graph, shelf):
    node = graph.pose_node(NamedEngine('old'))
    with Stream(graph, camera_of(graph), send_both) as stream:
        wait_for(lambda: len(graph.poses) > 5)
        answer = call(graph, node, 'missing')
        published = len(graph.poses)
        wait_for(lambda: len(graph.poses) > published + 5)
    assert (answer.success, answer.weights_hash) == (False, 'old')
    assert 'Cannot read the weights missing' in answer.message
    wait_for(lambda: len(graph.poses) == len(stream.sent))
    assert set(hashes(graph)) == {'old'}
    assert lost(node) == {}


def test_weights_that_break_on_live_frames_give_way(graph, shelf):
    node = graph.pose_node(NamedEngine('old'))
    new = shelf['new'] = NamedEngine('new')

    def respond(frame):
        if len(new.frames) > 4:
            raise RuntimeError('a damaged network')
        return [estimate_at(frame, 1.0)]

    new.respond = respond
    with Stream(graph, camera_of(graph), send_both) as stream:
        wait_for(lambda: len(graph.poses) > 3)
        assert call(graph, node, 'new').success
        wait_for(lambda: hashes(graph)[-1] == 'new' or len(graph.poses) > 8)
        wait_for(lambda: hashes(graph)[-3:] == ['old'] * 3 and 'new' in hashes(graph))
    wait_for(lambda: len(graph.poses) == len(stream.sent))
    assert hashes(graph).count('new') == 4
    assert lost(node) == {}
    wait_for(lambda: any('damaged network' in str(status.values) for status in graph.health))


def test_after_the_probation_an_error_is_an_error(graph, shelf):
    node = graph.pose_node(NamedEngine('old', seconds=0.0), use_image=False)
    new = shelf['new'] = NamedEngine('new', seconds=0.0)

    def send(camera, header, number):
        camera.send_info()
        camera.send_depth(1.0, header)

    def respond(frame):
        if len(new.frames) > PROBATION_FRAMES + 5:
            raise RuntimeError('later')
        return [estimate_at(frame, 1.0)]

    new.respond = respond
    camera = Camera(graph)
    camera.wait_for_subscribers()
    assert call(graph, node, 'new').success
    for number in range(PROBATION_FRAMES + 6):
        send(camera, camera.header(), number)
        wait_for(lambda number=number: len(graph.poses) == number + 1)
    assert graph.poses[-1].poses == []
    assert node.counters.dropped == {'depth': {'engine_error': 1}}


def test_a_changed_room_is_in_the_diagnostics(graph):
    parameters = {'drift__min_frames': 5, 'drift__patience_s': 0.1, 'drift__window_s': 1.0}
    node = graph.pose_node(NamedEngine('old', seconds=0.0, error=5.0), use_image=False, **parameters)  # 10 mm measured.
    assert node.config.drift.min_frames == 5

    def send(camera, header, number):
        camera.send_info()
        camera.send_depth(1.0, header)

    camera = Camera(graph)
    camera.wait_for_subscribers()

    def raised():
        send(camera, camera.header(), 0)
        time.sleep(0.02)
        return any('10 mm, 5 mm at deployment' in status.message for status in graph.health)

    wait_for(raised)


@pytest.fixture
def other_weights(tmp_path, bundled_weights):
    """Write the bundled weights with one number changed, and a copy with a flipped bit."""
    for ending in ('safetensors', 'json'):
        shutil.copyfile(BUNDLED_WEIGHTS / f'crib_depth.{ending}', tmp_path / f'other.{ending}')
    loaded = load_checkpoint(tmp_path / 'other.safetensors', None)
    next(loaded.model.parameters()).data[..., 0] += 1e-4
    save_checkpoint(tmp_path / 'other.safetensors', loaded.model, loaded.card)
    content = bytearray((tmp_path / 'other.safetensors').read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / 'corrupt.safetensors').write_bytes(content)
    shutil.copyfile(tmp_path / 'other.json', tmp_path / 'corrupt.json')
    return SimpleNamespace(other=tmp_path / 'other.safetensors', corrupt=tmp_path / 'corrupt.safetensors')


def test_real_weights_are_swapped_under_load(graph, other_weights, bundled_weights):
    """At 15 Hz on a live crib: every frame is answered, a corrupt file is refused, the new hash is the new file's."""
    node = graph.pose_node(build_engine(EngineConfig(weights=bundled_weights)), use_image=False)
    crib = CribStream(StreamConfig(width=320, height=240, focal_px=280.0), seed=1)
    frames = [crib.frame(number, number / RATE_HZ)[0] for number in range(3)]

    def send(camera, header, number):
        camera.send_info(crib.intrinsics)
        pixels = depth_pixels(frames[number % len(frames)].depth, '16UC1')
        camera.depth.publish(from_array(pixels, '16UC1', header))

    camera = Camera(graph)
    camera.wait_for_subscribers()
    send(camera, camera.header(), 0)
    wait_for(lambda: len(graph.poses) == 1)  # The search for somebody takes longer than a frame.
    old = graph.poses[0].poses[0].weights_hash
    with Stream(graph, camera, send) as stream:
        wait_for(lambda: len(graph.poses) > 5)
        refused = call(graph, node, str(other_weights.corrupt))
        assert (refused.success, refused.weights_hash) == (False, old)
        answer = call(graph, node, str(other_weights.other))
        assert answer.success, answer.message
        published = len(graph.poses)
        wait_for(lambda: len(graph.poses) > published + 10)
    wait_for(lambda: adds_up(node))
    new = load_checkpoint(other_weights.other, BODY).card.weights_hash
    assert answer.weights_hash == new != old
    assert set(hashes(graph)[published + 1 :]) == {new}
    assert lost(node) == {}
    assert len(graph.poses) == len(stream.sent) + 1
    assert np.isfinite(graph.poses[-1].poses[0].root.position.z)
