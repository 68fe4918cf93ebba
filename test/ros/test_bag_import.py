"""Bags into recordings: every image is accounted for, and a bag that is not what it declares is refused."""

import struct
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip('rosbags', reason='reading bags needs rosbags')

from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_typestore

from hwhup_core.data.recording import check_recording, open_recording
from hwhup_core.errors import AssetError, ConfigError, FrameError, HwhupError
from hwhup_core.recording import session
from hwhup_core.recording.config import GateConfig, NoveltyConfig, RecorderConfig, StorageConfig
from hwhup_ros import bag_import
from hwhup_ros.bag_import import ImportRequest, import_bag, main
from hwhup_ros.bags import BagTopics
from hwhup_ros.stamp_pairs import pair_by_stamp

SECOND = 10**9
START = 1_700_000_000 * SECOND
STEP = 33_333_333
COUNT = 5
HEIGHT, WIDTH = 30, 40
COLOR, DEPTH, INFO = '/cam/color/image_raw', '/cam/aligned_depth/image_raw', '/cam/color/camera_info'
KINDS = ('mcap', 'sqlite3', 'ros1')
NAMES = {'mcap': 'bag', 'sqlite3': 'bag', 'ros1': 'once.bag'}


def color_of(number):
    small = np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)


def depth_of(number):
    return np.random.default_rng(100 + number).integers(0, 4000, (HEIGHT, WIDTH), dtype=np.uint16)


class Bag:
    """Makes messages and writes them as one kind of bag; shares nothing with the reader."""

    def __init__(self, kind='mcap'):
        self.kind = kind
        self.store = get_typestore(Stores.ROS1_NOETIC if kind == 'ros1' else Stores.ROS2_JAZZY)
        self.rows = []

    def header(self, stamp_ns, frame_id):
        stamp = self.store.types['builtin_interfaces/msg/Time'](stamp_ns // SECOND, stamp_ns % SECOND)
        first = (7,) if self.kind == 'ros1' else ()
        return self.store.types['std_msgs/msg/Header'](*first, stamp, frame_id)

    def add(self, topic, message, stamp_ns, received_ns=None):
        self.rows.append((stamp_ns if received_ns is None else received_ns, topic, message))

    def image(self, stamp_ns, encoding, pixels, topic, frame_id='optical', received_ns=None):
        raw = np.frombuffer(np.ascontiguousarray(pixels).tobytes(), np.uint8)
        height, width = pixels.shape[:2]
        kind = self.store.types['sensor_msgs/msg/Image']
        message = kind(self.header(stamp_ns, frame_id), height, width, encoding, 0, len(raw) // height, raw)
        self.add(topic, message, stamp_ns, received_ns)

    def compressed(self, stamp_ns, form, content, topic):
        data = np.frombuffer(content, np.uint8)
        kind = self.store.types['sensor_msgs/msg/CompressedImage']
        self.add(topic, kind(self.header(stamp_ns, 'optical'), form, data), stamp_ns)

    def info(self, stamp_ns, fx=50.0, width=WIDTH):
        types = self.store.types
        k = np.array([fx, 0, 19.75, 0, 51.0, 14.5, 0, 0, 1])
        roi = types['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, False)
        header = self.header(stamp_ns, 'optical')
        distortion = np.array([0.1, -0.2, 0, 0, 0.05])
        message = types['sensor_msgs/msg/CameraInfo'](
            header, HEIGHT, width, 'plumb_bob', distortion, k, np.eye(3).ravel(), np.zeros(12), 0, 0, roi
        )
        self.add(INFO, message, stamp_ns)

    def frame(self, number):
        stamp = START + number * STEP
        self.image(stamp, 'rgb8', color_of(number), COLOR)
        self.image(stamp, '16UC1', depth_of(number), DEPTH)

    def write(self, path, empty=()):
        ros1 = self.kind == 'ros1'
        plugin = StoragePlugin.SQLITE3 if self.kind == 'sqlite3' else StoragePlugin.MCAP
        serialize = self.store.serialize_ros1 if ros1 else self.store.serialize_cdr
        with Writer1(path) if ros1 else Writer2(path, version=9, storage_plugin=plugin) as writer:
            topics = {topic: message.__msgtype__ for _, topic, message in self.rows}
            topics.update(dict.fromkeys(empty, 'sensor_msgs/msg/Image'))
            connections = {
                topic: writer.add_connection(topic, kind, typestore=self.store) for topic, kind in topics.items()
            }
            for received, topic, message in sorted(self.rows, key=lambda row: row[0]):
                writer.write(connections[topic], received, serialize(message, message.__msgtype__))
        return path


def plain_bag(path, kind='mcap', count=COUNT):
    bag = Bag(kind)
    bag.info(START - SECOND)
    for number in range(count):
        bag.frame(number)
    return bag.write(path)


def request(bag, out, **changes):
    options = {'privacy': 'full', 'novelty': NoveltyConfig(enabled=False), 'storage': StorageConfig(least_free_mb=1)}
    options.update(changes.pop('config', {}))
    return ImportRequest(bag, out, config=RecorderConfig(**options), **changes)


def refused(report):
    return dict(report.counts.reasons)


@pytest.mark.parametrize('kind', KINDS)
def test_raw_images_arrive_with_their_stamps_and_camera(tmp_path, kind):
    bag = plain_bag(tmp_path / NAMES[kind], kind)
    report = import_bag(request(bag, tmp_path / 'out', consent='signed', retention_days=3.0))
    assert (report.frames, report.written, refused(report)) == (COUNT, COUNT, {})
    assert report.messages == {COLOR: COUNT, DEPTH: COUNT, INFO: 1}
    recording = open_recording(tmp_path / 'out')
    assert (recording.card.frame_id, recording.card.consent, recording.card.retention_days) == ('optical', 'signed', 3)
    camera = recording.card.intrinsics
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (50.0, 51.0, 20.25, 15.0)  # ROS counts from pixel centres.
    assert camera.distortion == (0.1, -0.2, 0.0, 0.0, 0.05)
    assert [record.stamp_ns for record in recording.frames] == [START + i * STEP for i in range(COUNT)]
    for number in range(COUNT):
        frame = recording.frame(number)
        np.testing.assert_array_equal(frame.depth, depth_of(number).astype(np.float32) * np.float32(0.001))
        jpeg = cv2.imencode('.jpg', color_of(number)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
        np.testing.assert_array_equal(frame.color, cv2.imdecode(jpeg, cv2.IMREAD_COLOR)[..., ::-1])
    assert check_recording(tmp_path / 'out').ok


@pytest.mark.parametrize('kind', KINDS)
def test_compressed_images_go_over_byte_for_byte(tmp_path, kind):
    bag = Bag(kind)
    bag.info(START)
    contents = []
    for number in range(COUNT):
        jpeg = cv2.imencode('.jpg', color_of(number), [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
        png = cv2.imencode('.png', depth_of(number))[1].tobytes()
        stamp = START + number * STEP
        bag.compressed(stamp, 'rgb8; jpeg compressed bgr8', jpeg, COLOR + '/compressed')
        header = struct.pack('<iff', 0, 0.0, 0.0)
        bag.compressed(stamp, '16UC1; compressedDepth png', header + png, DEPTH + '/compressedDepth')
        contents.append((jpeg, png))
    report = import_bag(request(bag.write(tmp_path / NAMES[kind]), tmp_path / 'out'))
    assert report.written == COUNT
    for number, (jpeg, png) in enumerate(contents):
        assert (tmp_path / f'out/frames/{number:06}.color.jpg').read_bytes() == jpeg
        assert (tmp_path / f'out/frames/{number:06}.depth.png').read_bytes() == png
        np.testing.assert_allclose(open_recording(tmp_path / 'out').frame(number).depth, depth_of(number) / 1000, 1e-6)


def edit_metadata(bag: Path, old: str, new: str):
    path = bag / 'metadata.yaml'
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize('kind', ['mcap', 'sqlite3'])
def test_metadata_with_other_counts_are_refused(tmp_path, kind):
    bag = plain_bag(tmp_path / 'bag', kind)
    edit_metadata(bag, f'message_count: {COUNT}\n', f'message_count: {COUNT + 2}\n')
    with pytest.raises(AssetError, match=r'declares \d+ messages on .* and holds \d+'):
        import_bag(request(bag, tmp_path / 'out'))
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('kind', ['mcap', 'sqlite3'])
def test_metadata_without_any_message_are_refused(tmp_path, kind):
    bag = plain_bag(tmp_path / 'bag', kind)
    for count in (COUNT, 1, 2 * COUNT + 1):
        edit_metadata(bag, f'message_count: {count}\n', 'message_count: 0\n')
    with pytest.raises(AssetError, match='declares 0 messages on'):
        import_bag(request(bag, tmp_path / 'out'))


def test_a_topic_that_rosbags_would_skip_in_silence_is_refused(tmp_path):
    """With other quality of service in the metadata than in the storage rosbags yields nothing, and no error."""
    bag = plain_bag(tmp_path / 'bag')
    profile = (
        'offered_qos_profiles: [{history: keep_last, depth: 5, reliability: reliable, durability: volatile, '
        'deadline: {sec: 0, nsec: 0}, lifespan: {sec: 0, nsec: 0}, liveliness: automatic, '
        'liveliness_lease_duration: {sec: 0, nsec: 0}, avoid_ros_namespace_conventions: false}]'
    )
    edit_metadata(bag, 'offered_qos_profiles: []', profile)
    with pytest.raises(AssetError, match=f'declares {COUNT} messages on .* and holds 0 that can be read'):
        import_bag(request(bag, tmp_path / 'out'))
    assert not (tmp_path / 'out').exists()


def test_metadata_of_another_bag_are_refused(tmp_path):
    bag = plain_bag(tmp_path / 'bag')
    other = plain_bag(tmp_path / 'other', count=COUNT - 1)
    (bag / 'bag.mcap').write_bytes((other / 'other.mcap').read_bytes())
    with pytest.raises(AssetError, match=f'declares {COUNT} messages .* holds {COUNT - 1}'):
        import_bag(request(bag, tmp_path / 'out'))


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('share', [0.3, 0.9])
def test_a_truncated_bag_is_refused(tmp_path, kind, share):
    bag = plain_bag(tmp_path / 'bag', kind, count=30)
    path = bag if kind == 'ros1' else next(bag.glob('bag.*'))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    if kind == 'ros1':
        path = bag = path.rename(tmp_path / 'cut.bag')
    for where in {bag, path}:  # The folder, and its file alone.
        with pytest.raises(AssetError):
            import_bag(request(where, tmp_path / 'out'))
    assert not (tmp_path / 'out').exists()


def test_an_empty_topic_is_an_error(tmp_path):
    bag = Bag()
    bag.info(START)
    bag.image(START, 'rgb8', color_of(0), COLOR)
    bag.write(tmp_path / 'bag', empty=[DEPTH])
    with pytest.raises(AssetError, match=f'no message on {DEPTH}, expected at least one'):
        import_bag(request(tmp_path / 'bag', tmp_path / 'out'))


def test_images_without_partner_or_stamp_are_counted(tmp_path):
    bag = Bag()
    bag.info(START)
    for number in range(COUNT):
        bag.frame(number)
    bag.image(START + COUNT * STEP, 'rgb8', color_of(5), COLOR)
    bag.image(START + 20 * STEP, '16UC1', depth_of(5), DEPTH)
    bag.image(0, '16UC1', depth_of(5), DEPTH, received_ns=START + 21 * STEP)
    report = import_bag(request(bag.write(tmp_path / 'bag'), tmp_path / 'out'))
    assert (report.frames, report.written) == (COUNT, COUNT)
    assert refused(report) == {'unpaired': 2, 'zero_stamp': 1}
    assert open_recording(tmp_path / 'out').card.rejected == {'unpaired': 2, 'zero_stamp': 1}
    assert report.counts.arrived == COUNT + 3
    assert report.messages[COLOR] + report.messages[DEPTH] == 2 * COUNT + 3


def test_late_and_early_arrival_change_no_pair(tmp_path):
    bag = Bag()
    bag.info(START)
    for number in range(COUNT):
        stamp = START + number * STEP
        bag.image(stamp, 'rgb8', color_of(number), COLOR)
        # Depth is 4 ms younger and arrives three frames late, the last before the one before it.
        received = stamp + (3 * STEP if number < COUNT - 1 else STEP // 2)
        bag.image(stamp + 4_000_000, '16UC1', depth_of(number), DEPTH, received_ns=received)
    report = import_bag(request(bag.write(tmp_path / 'bag'), tmp_path / 'out'))
    assert (report.written, refused(report)) == (COUNT, {})
    recording = open_recording(tmp_path / 'out')
    assert [record.stamp_ns for record in recording.frames] == [START + i * STEP for i in range(COUNT)]
    assert recording.frames[0].metadata['quality']['skew_s'] == pytest.approx(0.004)
    for number in range(COUNT):
        np.testing.assert_allclose(recording.frame(number).depth, depth_of(number) / 1000, atol=1e-6)


def test_pairs_are_each_others_nearest():
    colors, depths = ('c', [100, 0, 133, 900]), ('d', [3, 96, 131, 150, 400, 0])
    pairing = pair_by_stamp(colors, depths, 20)
    # 100 and 96, 133 and 131; 150 is nearest to 133, which has a nearer one; stamps of 0 belong to nothing.
    assert pairing.pairs == ((0, 1), (2, 2))
    assert [(error.reason, str(error).split()[0]) for error in pairing.refused] == [
        ('zero_stamp', 'c'), ('zero_stamp', 'd'), ('unpaired', 'c'), ('unpaired', 'd'), ('unpaired', 'd'),
        ('unpaired', 'd'),
    ]  # fmt: skip
    assert pair_by_stamp(('c', [5]), ('d', []), 20).pairs == ()


def test_nan_depth_becomes_a_hole(tmp_path):
    bag = Bag()
    bag.info(START)
    depth = np.full((HEIGHT, WIDTH), 1.25, np.float32)
    depth[:3] = np.nan
    depth[3, 0] = np.inf
    bag.image(START, 'rgb8', color_of(0), COLOR)
    bag.image(START, '32FC1', depth, DEPTH)
    import_bag(request(bag.write(tmp_path / 'bag'), tmp_path / 'out'))
    found = open_recording(tmp_path / 'out').frame(0).depth
    expected = np.where(np.isfinite(depth), depth, 0)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert (found == 0).sum() == 3 * WIDTH + 1


def test_bad_frames_are_counted_by_reason(tmp_path):
    bag = Bag()
    bag.info(START)
    bag.frame(0)
    stamps = [START + number * STEP for number in range(1, 6)]
    colors = [('unheard_of', color_of(1)), ('rgb8', color_of(2)), ('rgb8', color_of(3)), ('rgb8', color_of(4) // 16)]
    depths = [('16UC1', depth_of(1)), ('8UC1', depth_of(2).astype(np.uint8)), ('16UC1', depth_of(3)[:20]),
              ('16UC1', depth_of(4))]  # fmt: skip
    for stamp, (encoding, pixels), (depth_encoding, depth) in zip(stamps, colors, depths):
        bag.image(stamp, encoding, pixels, COLOR)
        bag.image(stamp, depth_encoding, depth, DEPTH)
    bag.info(stamps[4] - 1, fx=60.0)
    bag.image(stamps[4], 'rgb8', color_of(5), COLOR)
    bag.image(stamps[4], '16UC1', depth_of(5), DEPTH)
    report = import_bag(request(bag.write(tmp_path / 'bag'), tmp_path / 'out'))
    assert (report.frames, report.written) == (6, 1)
    assert refused(report) == {'wrong_encoding': 2, 'size_mismatch': 1, 'under_exposed': 1, 'camera_changed': 1}


def test_nothing_that_can_be_used_is_an_error_with_its_reasons(tmp_path, capsys):
    bag = Bag()
    bag.info(START)
    for number in range(3):
        bag.image(START + number * STEP, 'unheard_of', color_of(number), COLOR)
        bag.image(START + number * STEP, '16UC1', depth_of(number), DEPTH)
    bag.write(tmp_path / 'bag')
    assert main([str(tmp_path / 'bag'), str(tmp_path / 'out'), '--privacy', 'full']) == 2
    error = capsys.readouterr().err
    assert 'gives no frame' in error
    assert f'3 on {COLOR}' in error
    assert '3 wrong_encoding' in error
    dark = Bag()
    dark.info(START)
    dark.image(START, 'rgb8', color_of(0) // 32, COLOR)
    dark.image(START, '16UC1', depth_of(0), DEPTH)
    with pytest.raises(HwhupError, match=r'gives no frame.*1 under_exposed'):
        import_bag(request(dark.write(tmp_path / 'dark'), tmp_path / 'dark_out'))


def test_a_short_queue_holds_the_bag_up_and_drops_nothing(tmp_path, monkeypatch):
    bag = plain_bag(tmp_path / 'bag', count=40)
    storage = StorageConfig(least_free_mb=1, queue=1, writers=1, sync_every=1)
    report = import_bag(request(bag, tmp_path / 'out', config={'storage': storage}))
    assert (report.written, refused(report)) == (40, {})


def test_a_quota_ends_the_import_with_an_error(tmp_path):
    storage = StorageConfig(least_free_mb=1, quota_frames=2)
    with pytest.raises(HwhupError, match=f'2 of {COUNT} frames .* quota of 2 frames'):
        import_bag(request(plain_bag(tmp_path / 'bag'), tmp_path / 'out', config={'storage': storage}))


def test_depth_alone_and_colour_alone(tmp_path):
    for name, topic, encoding, picture in (('d', DEPTH, '16UC1', depth_of), ('c', COLOR, 'rgb8', color_of)):
        bag = Bag()
        bag.info(START)
        for number in range(3):
            bag.image(START + number * STEP, encoding, picture(number), topic)
        report = import_bag(request(bag.write(tmp_path / name), tmp_path / f'out_{name}'))
        assert (report.written, report.messages) == (3, {topic: 3, INFO: 1})
    assert open_recording(tmp_path / 'out_d').card.stored() == ('depth',)
    assert open_recording(tmp_path / 'out_c').card.stored() == ('color',)


def test_unknown_heads_cost_the_colour_and_are_counted(tmp_path, monkeypatch):
    class Blind:
        """Finds nobody, and cannot use the third frame."""

        loaded = type('Loaded', (), {'card': type('Card', (), {'weights_hash': 'abc'})})
        calls = 0

        def __call__(self, frame):
            self.calls += 1
            if self.calls == 3:
                raise FrameError('bad', 'frame')
            return []

    monkeypatch.setattr(bag_import, 'build_engine', lambda config: Blind())
    bag = plain_bag(tmp_path / 'bag')
    report = import_bag(request(bag, tmp_path / 'out', config={'privacy': 'head_blurred'}, weights='any'))
    assert (report.written, report.uncoloured) == (COUNT, COUNT)
    assert not list((tmp_path / 'out/frames').glob('*color*'))
    assert open_recording(tmp_path / 'out').card.model_hash == 'abc'
    none = import_bag(request(bag, tmp_path / 'none', config={'privacy': 'no_color'}))
    assert (none.written, none.uncoloured) == (COUNT, 0)
    assert open_recording(tmp_path / 'none').card.stored() == ('depth',)


def test_novelty_leaves_out_what_is_the_same(tmp_path):
    bag = Bag()
    bag.info(START)
    for number in range(COUNT):
        bag.image(START + number * SECOND, 'rgb8', color_of(0), COLOR)
        bag.image(START + number * SECOND, '16UC1', depth_of(0), DEPTH)
    config = {'novelty': NoveltyConfig()}
    report = import_bag(request(bag.write(tmp_path / 'bag'), tmp_path / 'out', config=config))
    assert (report.written, refused(report)) == (1, {'near_duplicate': COUNT - 1})


def test_ambiguous_or_unknown_topics_are_named(tmp_path):
    bag = Bag()
    bag.info(START)
    bag.frame(0)
    bag.image(START, '16UC1', depth_of(0), '/cam/depth/image_rect_raw')
    bag.write(tmp_path / 'bag')
    with pytest.raises(ConfigError, match=r'2 topics that could be `depth`.*--depth of `hwhup recording import`'):
        import_bag(request(tmp_path / 'bag', tmp_path / 'out'))
    with pytest.raises(ConfigError, match='has no topic /none'):
        import_bag(request(tmp_path / 'bag', tmp_path / 'out', topics=BagTopics(depth='/none')))
    assert import_bag(request(tmp_path / 'bag', tmp_path / 'out', topics=BagTopics(depth=DEPTH))).written == 1


def test_the_command_says_what_was_read_and_refused(tmp_path, capsys):
    bag = plain_bag(tmp_path / 'bag')
    assert main([str(bag), str(tmp_path / 'out'), '--privacy', 'full', '--operator', 'nurse']) == 0
    text = capsys.readouterr().out
    assert f'{COLOR}: {COUNT} messages, as the bag declares' in text
    assert f'frames: {COUNT}, written: {COUNT}' in text
    assert open_recording(tmp_path / 'out').card.operator == 'nurse'
    assert main([str(bag), str(tmp_path / 'out'), '--privacy', 'full']) == 2  # It is there already.
    assert main([str(bag), str(tmp_path / 'new'), '--privacy', 'full', '--retention-days', '0']) == 2
    assert main([str(tmp_path / 'nowhere'), str(tmp_path / 'new')]) == 2


def test_gates_can_be_told_or_left_out(tmp_path):
    bag = Bag()
    bag.info(START)
    bag.image(START, 'rgb8', color_of(0) // 32, COLOR)
    bag.image(START + 15_000_000, '16UC1', depth_of(0), DEPTH)
    bag.write(tmp_path / 'bag')
    assert main([str(tmp_path / 'bag'), str(tmp_path / 'out'), '--privacy', 'full', '--no-gates']) == 0
    with pytest.raises(AssetError, match=r'gives no frame.*2 unpaired'):
        import_bag(request(tmp_path / 'bag', tmp_path / 'strict', config={'gates': GateConfig(max_skew_s=0.01)}))


def test_a_stored_picture_is_kept_only_where_privacy_leaves_it(tmp_path, monkeypatch):
    """The head is blurred in the decoded picture, so the bag's JPEG must not reach the disk."""
    black = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    monkeypatch.setattr(session, 'protected', lambda frame, estimates, privacy: replace(frame, color=black))
    bag = Bag()
    bag.info(START)
    png = cv2.imencode('.png', depth_of(0))[1].tobytes()
    bag.compressed(START, 'jpeg', cv2.imencode('.jpg', color_of(0))[1].tobytes(), COLOR)
    bag.compressed(START, '16UC1; compressedDepth png', bytes(12) + png, DEPTH)
    import_bag(request(bag.write(tmp_path / 'bag'), tmp_path / 'out'))
    assert not open_recording(tmp_path / 'out').frame(0).color.any()
    assert (tmp_path / 'out/frames/000000.depth.png').read_bytes() == png
