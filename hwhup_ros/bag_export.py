"""
A recording into a rosbag2 bag (MCAP) that `ros2 bag play` and Foxglove read.

Topics: `color/image_raw/compressed` (JPEG or PNG as stored, not encoded again) or `color/image_raw` (rgb8),
`depth/image_raw` (16UC1, millimetres), `infrared/image_raw` and `pressure/image_raw` (mono16, 65535 = 1), and
`color/camera_info` for each frame. All messages of a frame have its stamp, also as the time of their arrival.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy import ndarray
from tqdm import tqdm

from hwhup_core.data.recording import Recording, open_recording, read_stored
from hwhup_core.data.recording_card import FRAMES, FrameRecord
from hwhup_core.errors import AssetError, ConfigError, HwhupError
from hwhup_core.types import Intrinsics
from hwhup_ros.bags import SECOND_NS, McapBag

NAMESPACE = '/camera'
HALF_PIXEL = 0.5
FORMATS = {'jpg': 'rgb8; jpeg compressed bgr8', 'png': 'rgb8; png compressed bgr8'}
"""What image_transport calls the encodings of a stored colour picture."""
EXIT_FINE, EXIT_WRONG = 0, 2


def export_bag(folder: Path, out: Path, raw: bool = False, namespace: str = NAMESPACE) -> Counter[str]:
    """
    Write a recording as a bag and return the messages by topic; with `raw` colour goes out decoded.

    Raises AssetError for a frame that cannot be read, and then no bag stays.
    """
    recording = open_recording(folder)
    if not len(recording):
        raise AssetError(f'{folder} has no frame to export. Record first, or see `hwhup recording check`.')
    if out.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(f'{out} lies in the recording. Export to another place.')
    counts: Counter[str] = Counter()
    # Who asks for decoded colour wants it at once: rosbag2 does not compress by itself either.
    with McapBag(out, compress=not raw) as bag:
        try:
            for record in tqdm(recording.frames, unit='frame', disable=None, leave=False):
                for topic, message in _messages(bag, recording, record, raw, namespace.rstrip('/')):
                    bag.write(topic, record.stamp_ns, message)
                    counts[topic] += 1
        except BaseException:
            shutil.rmtree(out)
            raise
    return counts


def _messages(
    bag: McapBag, recording: Recording, record: FrameRecord, raw: bool, namespace: str
) -> list[tuple[str, Any]]:
    """Return topic and message of all that is known of a frame, camera info first."""
    header = _header(bag, record.stamp_ns, recording.card.frame_id)
    contents = {name: read_stored(recording.folder, file) for name, file in record.files.items()}
    places = {name: recording.folder / FRAMES / file.name for name, file in record.files.items()}
    messages: list[tuple[str, Any]] = []
    if recording.card.intrinsics is not None:
        messages.append((f'{namespace}/color/camera_info', _camera_info(bag, header, recording.card.intrinsics)))
    if 'color' in contents and not raw:
        compressed = bag.type('sensor_msgs/msg/CompressedImage')
        form = FORMATS[places['color'].suffix[1:]]
        data = np.frombuffer(contents['color'], np.uint8)
        messages.append((f'{namespace}/color/image_raw/compressed', compressed(header, form, data)))
    if 'color' in contents and raw:
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        pixels = _decoded(contents, places, 'color', flags)[..., ::-1]
        messages.append((f'{namespace}/color/image_raw', _image(bag, header, 'rgb8', pixels)))
    for name, encoding in (('depth', '16UC1'), ('infrared', 'mono16'), ('pressure', 'mono16')):
        if name in contents:
            pixels = _decoded(contents, places, name, cv2.IMREAD_UNCHANGED)
            if pixels.dtype != np.uint16 or pixels.ndim != 2:
                raise AssetError(
                    f'{places[name]} holds {pixels.dtype}, expected one channel of 16 bits. Copy it again.'
                )
            messages.append((f'{namespace}/{name}/image_raw', _image(bag, header, encoding, pixels)))
    return messages


def _decoded(contents: Mapping[str, bytes], places: Mapping[str, Path], name: str, flags: int) -> ndarray:
    pixels = cv2.imdecode(np.frombuffer(contents[name], np.uint8), flags)
    if pixels is None:
        raise AssetError(f'{places[name]} is not a readable picture. Copy it again, or repair the recording.')
    return pixels


def _header(bag: McapBag, stamp_ns: int, frame_id: str) -> Any:
    stamp = bag.type('builtin_interfaces/msg/Time')(stamp_ns // SECOND_NS, stamp_ns % SECOND_NS)
    return bag.type('std_msgs/msg/Header')(stamp, frame_id)


def _image(bag: McapBag, header: Any, encoding: str, pixels: ndarray) -> Any:
    contiguous = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder('<'))
    height, width = contiguous.shape[:2]
    data = contiguous.view(np.uint8).reshape(-1)
    return bag.type('sensor_msgs/msg/Image')(header, height, width, encoding, 0, len(data) // height, data)


def _camera_info(bag: McapBag, header: Any, camera: Intrinsics) -> Any:
    """Return the camera info of an unrectified image; ROS counts from the centre of the first pixel."""
    none = camera.distortion_model == 'none'
    k = np.array([camera.fx, 0, camera.cx - HALF_PIXEL, 0, camera.fy, camera.cy - HALF_PIXEL, 0, 0, 1], np.float64)
    return bag.type('sensor_msgs/msg/CameraInfo')(
        header=header,
        height=camera.height,
        width=camera.width,
        distortion_model='plumb_bob' if none else camera.distortion_model,
        d=np.zeros(5) if none else np.array(camera.distortion, np.float64),
        k=k,
        r=np.eye(3).ravel(),
        p=np.insert(k.reshape(3, 3), 3, 0.0, axis=1).ravel(),
        binning_x=0,
        binning_y=0,
        roi=bag.type('sensor_msgs/msg/RegionOfInterest')(0, 0, 0, 0, False),
    )


def main(arguments: list[str]) -> int:
    """Run `hwhup recording export --format mcap` and return the exit code: 0 done, 2 wrong input."""
    parser = argparse.ArgumentParser(prog='hwhup recording export', description=(__doc__ or '').strip())
    parser.add_argument('recording', type=Path)
    parser.add_argument('out', type=Path, help='new folder of the bag')
    parser.add_argument('--raw', action='store_true', help='colour decoded (rgb8) instead of as stored')
    parser.add_argument('--namespace', default=NAMESPACE, help='of the topics (%(default)s)')
    given = parser.parse_args(arguments)
    try:
        counts = export_bag(given.recording, given.out, given.raw, given.namespace)
    except HwhupError as error:
        print(f'hwhup: error: {error}', file=sys.stderr)
        return EXIT_WRONG
    print(f'wrote {given.out}')
    for topic, count in counts.items():
        print(f'  {topic}: {count} messages')
    return EXIT_FINE


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
