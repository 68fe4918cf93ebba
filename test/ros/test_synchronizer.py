import random
import threading
import time
from collections import Counter

import pytest

from hwhup_core.errors import ConfigError
from hwhup_ros.mailbox import Mailbox, Worker
from hwhup_ros.synchronizer import Streams, SyncConfig, Synchronizer

MS = 1_000_000
NOW = 10**18


class Harness:
    """A synchroniser with its drops in a list and camera info at hand unless asked otherwise."""

    def __init__(self, streams=None, info=True, **settings):
        self.drops = []
        streams = streams or Streams('image', 'depth')
        self.sync = Synchronizer(SyncConfig(**settings), streams, lambda *drop: self.drops.append(drop))
        if info:
            assert self.sync.add_info('info') is None

    def add(self, stream, ms, now_ms=None):
        now = NOW if now_ms is None else now_ms * MS
        pair = self.sync.add_image(stream, round(ms * MS), f'{stream}{ms}', now)
        if pair is None:
            return None
        return pair.primary.item, pair.secondary and pair.secondary.item


def test_images_of_one_moment_are_paired_whichever_comes_first():
    harness = Harness()
    assert harness.add('image', 100) is None
    assert harness.add('depth', 100) == ('image100', 'depth100')
    assert harness.add('depth', 133) is None
    assert harness.add('image', 133) == ('image133', 'depth133')
    assert harness.drops == []
    assert harness.sync.pending == {'image': 0, 'depth': 0}


def test_slop_is_the_largest_difference():
    harness = Harness(slop=0.020)
    harness.add('image', 100)
    assert harness.add('depth', 121) is None
    assert harness.add('image', 141) == ('image141', 'depth121')
    assert harness.drops == [('image', 'unpaired')]
    assert abs(harness.sync.newest_skew + 0.020) < 1e-9


def test_a_stream_that_runs_behind_by_frames_is_still_paired():
    harness = Harness(slop=0.005)
    pairs = []
    for step in range(3, 12):
        harness.add('image', 33 * step)
        pairs.append(harness.add('depth', 33 * (step - 2)))
    assert pairs[:2] == [None, None]
    assert pairs[2:] == [(f'image{33 * step}', f'depth{33 * step}') for step in range(3, 10)]


def test_what_was_passed_over_is_dropped_once():
    harness = Harness(slop=0.001)
    for ms in (100, 133, 166):
        harness.add('image', ms)
    assert harness.add('depth', 166) == ('image166', 'depth166')
    assert harness.drops == [('image', 'unpaired')] * 2


def test_buffer_is_bounded():
    harness = Harness(buffer=3)
    for ms in range(100, 400, 33):
        harness.add('image', ms)
    assert harness.sync.pending['image'] == 3
    assert harness.drops == [('image', 'unpaired')] * 7


def test_bad_stamps_are_refused_by_reason():
    harness = Harness(max_future=1.0, reset_after=1.0)
    harness.add('image', 5000, now_ms=5000)
    for ms in (0, -5, 7000, 5000, 4500):
        assert harness.add('image', ms, now_ms=5000) is None
    assert [reason for _, reason in harness.drops] == [
        'zero_stamp',
        'zero_stamp',
        'future_stamp',
        'duplicate_stamp',
        'backward_stamp',
    ]
    assert harness.add('depth', 5000, now_ms=5000) == ('image5000', 'depth5000')


def test_a_large_jump_back_starts_again():
    harness = Harness(reset_after=1.0)
    harness.add('image', 50_000)
    harness.add('depth', 49_000)
    assert harness.add('image', 100) is None
    assert harness.sync.resets == 1
    assert sorted(harness.drops) == [('depth', 'reset'), ('image', 'reset')]
    assert harness.add('depth', 100) == ('image100', 'depth100')


def test_a_jump_forward_goes_on():
    harness = Harness()
    harness.add('image', 100)
    harness.add('image', 90_000)
    assert harness.add('depth', 90_000) == ('image90000', 'depth90000')


def test_the_newest_pair_waits_for_the_first_camera_info():
    harness = Harness(info=False)
    for ms in (100, 133):
        harness.add('image', ms)
        assert harness.add('depth', ms) is None
    assert harness.drops == [('image', 'no_camera_info'), ('depth', 'no_camera_info')]
    assert harness.sync.pending == {'image': 1, 'depth': 1}
    pair = harness.sync.add_info('late')
    assert (pair.primary.item, pair.secondary.item, pair.info) == ('image133', 'depth133', 'late')
    harness.add('image', 166)
    assert harness.add('depth', 166) == ('image166', 'depth166')


def test_one_stream_alone_needs_no_partner():
    harness = Harness(Streams('depth'))
    assert harness.add('depth', 100) == ('depth100', None)


def test_optional_partner_is_taken_along_where_it_comes():
    harness = Harness(Streams('depth', 'image', secondary_required=False), slop=0.005, optional_timeout=0.5)
    assert harness.add('depth', 100) == ('depth100', None)  # No image was ever heard.
    assert harness.add('image', 133) is None
    assert harness.add('depth', 133) == ('depth133', 'image133')
    assert harness.add('depth', 166) is None  # The image stream is alive: wait for it.
    assert harness.add('depth', 200) == ('depth166', None)  # The next one came first.
    assert harness.add('image', 233) == ('depth200', None)  # The partner was passed over.
    assert harness.add('depth', 233) == ('depth233', 'image233')
    assert harness.add('depth', 266) is None
    released = harness.sync.release()  # Nothing else comes: the owner's patience ends.
    assert released.primary.item == 'depth266'
    assert harness.sync.release() is None
    assert harness.add('depth', 900) == ('depth900', None)  # The image stream went silent.
    assert harness.drops == []


def test_a_required_partner_is_never_given_up():
    harness = Harness()
    harness.add('image', 100)
    assert harness.sync.release() is None
    assert harness.sync.pending['image'] == 1


@pytest.mark.parametrize('required', [True, False])
@pytest.mark.parametrize('seed', range(30))
def test_whatever_comes_is_paired_in_order_or_dropped_once(seed, required):
    rng = random.Random(seed)
    slop = rng.choice([0.0, 0.005, 0.02, 0.1])
    streams = Streams('image', 'depth', secondary_required=required)
    harness = Harness(streams, info=rng.random() < 0.5, slop=slop, buffer=rng.randint(1, 6))
    clock = {'image': 1000.0, 'depth': 1000.0 + rng.uniform(-200, 200)}
    received, emitted, pairs = Counter(), Counter(), []

    def collect(pair):
        if pair is not None:
            pairs.append(pair)
            emitted['image'] += 1
            emitted['depth'] += pair.secondary is not None

    for step in range(400):
        if rng.random() < 0.02 or step == 200:
            collect(harness.sync.add_info(step))
        if rng.random() < 0.05:
            collect(harness.sync.release())
        stream = rng.choice(['image', 'depth'])
        clock[stream] += rng.choice([33, 33, 33, 33, 0, -20, 100, rng.uniform(0, 50)])
        stamp = 0 if rng.random() < 0.02 else round(clock[stream] * MS)
        received[stream] += 1
        collect(harness.sync.add_image(stream, stamp, object(), NOW))
    dropped = Counter(stream for stream, _ in harness.drops)
    for stream in ('image', 'depth'):
        assert received[stream] == emitted[stream] + dropped[stream] + harness.sync.pending[stream]
    assert len({id(pair.primary.item) for pair in pairs}) == len(pairs)
    stamps = [pair.primary.stamp_ns for pair in pairs]
    assert stamps == sorted(set(stamps))
    seconds = [pair.secondary.stamp_ns for pair in pairs if pair.secondary is not None]
    assert seconds == sorted(set(seconds))
    assert all(abs(pair.skew) <= slop + 1e-9 for pair in pairs if pair.secondary is not None)
    assert all(pair.info is not None for pair in pairs)
    assert not required or all(pair.secondary is not None for pair in pairs)


def test_settings_are_checked():
    with pytest.raises(ConfigError, match='must not be negative'):
        SyncConfig(slop=-0.1)


def test_mailbox_keeps_the_newest_and_hands_back_the_older():
    mailbox = Mailbox()
    assert mailbox.put(1) is None
    assert mailbox.put(2) == 1
    assert mailbox.take() == 2
    assert mailbox.take(timeout=0.01) is None
    mailbox.put(3)
    assert mailbox.close() == 3
    assert mailbox.put(4) == 4
    assert mailbox.take() is None


def test_worker_handles_the_newest_survives_errors_and_loses_nothing():
    handled, failed, superseded = [], [], []
    inside, go_on = threading.Event(), threading.Event()

    def handle(item):
        inside.set()
        go_on.wait(5)
        if item == 'bad':
            raise ValueError('bad item')
        handled.append(item)

    worker = Worker(handle, lambda item, error: failed.append((item, str(error))), superseded.append)
    with worker:
        worker.submit('bad')
        assert inside.wait(5)
        for item in range(5):
            worker.submit(item)
        go_on.set()
        deadline = time.monotonic() + 5
        while not handled and time.monotonic() < deadline:
            time.sleep(0.001)
    assert failed == [('bad', 'bad item')]
    assert handled == [4]
    assert superseded == [0, 1, 2, 3]
    worker.submit('late')
    assert superseded[-1] == 'late'
    assert worker.stop()


def test_worker_that_stops_hands_back_what_waited():
    superseded, inside, go_on = [], threading.Event(), threading.Event()

    def handle(item):
        inside.set()
        go_on.wait(5)

    worker = Worker(handle, lambda *_: None, superseded.append).start()
    worker.submit(1)
    assert inside.wait(5)
    worker.submit(2)
    threading.Timer(0.05, go_on.set).start()
    assert worker.stop()
    assert superseded == [2]
