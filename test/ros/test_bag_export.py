"""Recordings out to MCAP bags, and back without a difference."""

from dataclasses import replace

import numpy as np
import pytest
import yaml

pytest.importorskip('rosbags', reason='writing bags needs rosbags')

from rosbags.highlevel import AnyReader

from hwhup_core.data.recording import RecordingCard, open_recording
from hwhup_core.data.recording_writer import RecordingWriter
from hwhup_core.errors import AssetError, ConfigError
from hwhup_core.recording.config import NoveltyConfig, RecorderConfig, StorageConfig
from hwhup_core.types import Frame, Intrinsics
from hwhup_ros.bag_export import export_bag, main
from hwhup_ros.bag_import import NO_GATES, ImportRequest, import_bag

COUNT = 6
START = 1_700_000_000_123_456_789
CAMERA = Intrinsics(50.3, 51.7, 20.31, 15.77, 40, 30, 'plumb_bob', (0.1, -0.2, 0.001, 0.002, 0.05))
CARD = RecordingCard('D435', 'camera_optical', CAMERA)
COLOR, RAW = '/camera/color/image_raw/compressed', '/camera/color/image_raw'
DEPTH, INFO = '/camera/depth/image_raw', '/camera/color/camera_info'


@pytest.fixture
def folder(tmp_path):
    return record(tmp_path / 'recording', CARD)


def record(folder, card, count=COUNT):
    with RecordingWriter(folder, card) as writer:
        for number in range(count):
            rng = np.random.default_rng(number)
            depth = rng.integers(0, 65535, (30, 40)).astype(np.float32) * np.float32(0.001)
            frame = Frame(START + number * 33_333_331, card.frame_id, intrinsics=card.intrinsics)
            pictures = {
                'color': rng.integers(0, 256, (30, 40, 3), dtype=np.uint8),
                'depth': depth,
                'infrared': depth / np.float32(66),
            }
            writer.write(replace(frame, **{name: pictures[name] for name in card.stored()}), {})
    return folder


def back(bag, out):
    """Import the bag with everything that may refuse a frame off."""
    config = RecorderConfig(
        privacy='full', gates=NO_GATES, novelty=NoveltyConfig(enabled=False), storage=StorageConfig(least_free_mb=1)
    )
    return import_bag(ImportRequest(bag, out, config=config))


@pytest.mark.parametrize('color', ['jpeg', 'png'])
def test_out_and_in_again_changes_nothing(tmp_path, color):
    folder = record(tmp_path / 'recording', replace(CARD, color=color))
    assert export_bag(folder, tmp_path / 'bag') == {INFO: COUNT, COLOR: COUNT, DEPTH: COUNT}
    report = back(tmp_path / 'bag', tmp_path / 'again')
    assert (report.frames, report.written, dict(report.counts.reasons)) == (COUNT, COUNT, {})
    first, again = open_recording(folder), open_recording(tmp_path / 'again')
    assert [each.stamp_ns for each in again.frames] == [each.stamp_ns for each in first.frames]
    assert (again.card.intrinsics, again.card.frame_id, again.card.color) == (CAMERA, CARD.frame_id, color)
    for number in range(COUNT):
        np.testing.assert_array_equal(again.frame(number).depth, first.frame(number).depth)
        name = first.frames[number].files['color'].name
        assert (tmp_path / 'again/frames' / name).read_bytes() == (folder / 'frames' / name).read_bytes()


def test_raw_colour_is_what_the_stored_picture_shows(tmp_path, folder):
    assert export_bag(folder, tmp_path / 'bag', raw=True) == {INFO: COUNT, RAW: COUNT, DEPTH: COUNT}
    with AnyReader([tmp_path / 'bag']) as reader:
        [raw] = [c for c in reader.connections if c.topic == RAW]
        messages = [reader.deserialize(data, raw.msgtype) for _, _, data in reader.messages(connections=[raw])]
    for number, message in enumerate(messages):
        assert (message.encoding, message.step, message.header.frame_id) == ('rgb8', 120, 'camera_optical')
        np.testing.assert_array_equal(message.data.reshape(30, 40, 3), open_recording(folder).frame(number).color)
    assert back(tmp_path / 'bag', tmp_path / 'again').written == COUNT


def test_the_bag_is_what_its_readers_expect(tmp_path, folder):
    """Message definitions in the file, counts and storage in the metadata, and arrival at the stamp."""
    export_bag(folder, tmp_path / 'bag')
    metadata = yaml.safe_load((tmp_path / 'bag/metadata.yaml').read_text())['rosbag2_bagfile_information']
    assert (metadata['storage_identifier'], metadata['message_count']) == ('mcap', 3 * COUNT)
    assert metadata['relative_file_paths'] == ['bag.mcap']
    assert not metadata['compression_mode']  # Chunks of the file are compressed, which players need not be told.
    assert (tmp_path / 'bag/bag.mcap').read_bytes()[:8] == b'\x89MCAP0\r\n'
    with AnyReader([tmp_path / 'bag/bag.mcap']) as reader:
        assert all('MSG: std_msgs/Header' in connection.msgdef.data for connection in reader.connections)
        for connection, received, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            assert message.header.stamp.sec * 10**9 + message.header.stamp.nanosec == received
            if connection.topic == INFO:
                assert message.k.tolist() == [50.3, 0, 20.31 - 0.5, 0, 51.7, 15.77 - 0.5, 0, 0, 1]
                assert message.p.reshape(3, 4)[:, :3].ravel().tolist() == message.k.tolist()
            if connection.topic == COLOR:
                assert message.format == 'rgb8; jpeg compressed bgr8'
            if connection.topic == DEPTH:
                assert (message.encoding, message.step) == ('16UC1', 80)


def test_other_pictures_go_out_too(tmp_path):
    card = replace(CARD, color='none', infrared='png')
    counts = export_bag(record(tmp_path / 'r', card), tmp_path / 'bag', namespace='/bed/')
    assert counts == {
        f'/bed/{topic}': COUNT for topic in ('color/camera_info', 'depth/image_raw', 'infrared/image_raw')
    }


def test_a_damaged_or_empty_recording_leaves_no_bag(tmp_path, folder):
    path = folder / 'frames/000003.depth.png'
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(AssetError, match=r'000003\.depth\.png'):
        export_bag(folder, tmp_path / 'bag')
    assert not (tmp_path / 'bag').exists()
    with pytest.raises(AssetError, match='no frame to export'):
        export_bag(record(tmp_path / 'empty', CARD, count=0), tmp_path / 'bag')


def test_nothing_is_overwritten(tmp_path, folder, capsys):
    (tmp_path / 'bag').mkdir()
    with pytest.raises(ConfigError, match='is there already'):
        export_bag(folder, tmp_path / 'bag')
    with pytest.raises(ConfigError, match='lies in the recording'):
        export_bag(folder, folder / 'bag')
    assert main([str(folder), str(tmp_path / 'new')]) == 0
    assert f'{DEPTH}: {COUNT} messages' in capsys.readouterr().out
    assert main([str(folder), str(tmp_path / 'new')]) == 2
