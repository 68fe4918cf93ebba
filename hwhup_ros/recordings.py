"""
Recorded RGB-D frames, one after the other: a folder of PNG files, or a bag of ROS 1 or ROS 2.

A frame that cannot be used comes out, in its place, as the `FrameError` that says why: nothing goes missing silently.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from hwhup_core.data.camera_file import read_camera_file
from hwhup_core.errors import AssetError, ConfigError, FrameError
from hwhup_core.types import Frame

COLOR_FOLDERS = ('color', 'rgb')
CAMERA_FILES = ('camera.yaml', 'camera.yml', 'camera.json', 'camera_info.yaml', 'cam_params*.json', 'intrinsics*.json')
SATURATED = 65535
"""What a 16-bit depth camera writes where it measured nothing."""
NO_STAMP = 0
"""Stamp of a frame whose recording does not say when it was taken."""
STAMP_DIGITS = 16
"""A file name of this many digits is its stamp, nanoseconds since the epoch; a shorter one just counts."""
MAX_SKEW_NS = 20_000_000
"""Colour and depth of a bag belong together when their stamps differ by no more than this."""


class Recording(Protocol):
    """What both kinds of recording can do."""

    frame_count: int
    """Frames to expect; of a bag it is an upper bound."""
    has_stamps: bool
    """Whether the frames say when they were taken."""

    def frames(self) -> Iterator[Frame | FrameError]:
        """Read from the start; a frame that cannot be used is returned as its error."""
        ...


@dataclass(frozen=True)
class BagTopics:
    """Topics to read from a bag; empty = the only one that fits."""

    image: str = ''
    depth: str = ''
    camera_info: str = ''


def open_recording(path: Path, topics: BagTopics | None = None) -> Recording:
    """Return the recording at `path`: a folder with `color/` and/or `depth/`, a rosbag2 bag, or a ROS 1 .bag."""
    if not path.exists():
        raise AssetError(f'No recording at {path}. Expected a folder with color/ and depth/ PNG files, or a bag.')
    is_bag = path.suffix in {'.bag', '.mcap', '.db3'} or (path / 'metadata.yaml').is_file()
    return BagRecording(path, topics or BagTopics()) if is_bag else FolderRecording(path)


class FolderRecording:
    """`color/NAME.png` (8-bit) and `depth/NAME.png` (16-bit) that belong together by name, beside one camera file."""

    def __init__(self, folder: Path) -> None:
        self._color = next((_stems(folder / name) for name in COLOR_FOLDERS if (folder / name).is_dir()), {})
        self._depth = _stems(folder / 'depth')
        if not self._color and not self._depth:
            found = ', '.join(sorted(entry.name for entry in folder.iterdir())[:8]) or 'nothing'
            raise AssetError(
                f'{folder} holds no frames. Expected PNG files in its color/ and depth/ (16-bit millimetres), '
                f'or a bag; found {found}.'
            )
        self._names = sorted(self._color.keys() | self._depth.keys())
        self.intrinsics, self._depth_unit = read_camera_file(_find_camera_file(folder))
        self.frame_count = len(self._names)
        self.has_stamps = all(name.isdigit() and len(name) >= STAMP_DIGITS for name in self._names)

    def frames(self) -> Iterator[Frame | FrameError]:
        """See `Recording.frames`."""
        for name in self._names:
            try:
                yield self._read(name)
            except FrameError as error:
                yield error

    def _read(self, name: str) -> Frame:
        color = _read_png(_partner(self._color, name, 'color'), cv2.IMREAD_COLOR) if self._color else None
        depth = _read_png(_partner(self._depth, name, 'depth'), cv2.IMREAD_UNCHANGED) if self._depth else None
        if depth is not None and (depth.dtype != np.uint16 or depth.ndim != 2):
            raise FrameError(
                'wrong_depth_type',
                f'{self._depth[name]} holds {depth.dtype} with shape {depth.shape}; expected a 16-bit one-channel PNG.',
            )
        for picture, file in ((color, self._color.get(name)), (depth, self._depth.get(name))):
            if picture is not None and picture.shape[:2] != (self.intrinsics.height, self.intrinsics.width):
                raise FrameError(
                    'size_mismatch',
                    f'{file} is {picture.shape[1]}x{picture.shape[0]}; the camera file says '
                    f'{self.intrinsics.width}x{self.intrinsics.height}.',
                )
        if depth is not None:
            depth[depth == SATURATED] = 0
        return Frame(
            stamp_ns=int(name) if self.has_stamps else NO_STAMP,
            frame_id='camera_color_optical_frame',
            color=None if color is None else cv2.cvtColor(color, cv2.COLOR_BGR2RGB),
            depth=None if depth is None else depth.astype(np.float32) * np.float32(self._depth_unit),
            intrinsics=self.intrinsics,
        )


class BagRecording:
    """Colour and depth images of a bag, paired by stamp, through the `rosbags` library (no ROS installation needed)."""

    def __init__(self, path: Path, topics: BagTopics) -> None:
        self._path = path
        with _bag_reader(path) as reader:
            counts = {connection.topic: connection.msgcount for connection in reader.connections}
            types = {connection.topic: connection.msgtype for connection in reader.connections}
        images = [topic for topic, kind in types.items() if kind.endswith(('/Image', '/CompressedImage'))]
        depths = [topic for topic in images if 'depth' in topic]
        self._depth = topics.depth or _only(depths, path, 'depth', required=False)
        others = [topic for topic in images if 'depth' not in topic]
        self._image = topics.image or _only(others, path, 'image', required=not self._depth)
        infos = [topic for topic, kind in types.items() if kind.endswith('/CameraInfo')]
        if len(infos) > 1:  # The one beside the colour image is the camera that depth is registered to.
            camera = (self._image or self._depth).rsplit('/', 1)[0]
            infos = [topic for topic in infos if topic.rsplit('/', 1)[0] == camera]
        self._info = topics.camera_info or _only(infos, path, 'camera_info', required=True)
        for topic in filter(None, (self._image, self._depth, self._info)):
            if topic not in types:
                raise ConfigError(f'{path} has no topic {topic}. It has: {", ".join(sorted(types))}.')
        self.frame_count = min(counts[topic] for topic in (self._image, self._depth) if topic)
        self.has_stamps = True

    def frames(self) -> Iterator[Frame | FrameError]:
        """See `Recording.frames`; images that come before the first camera info are errors, too."""
        wanted = {topic for topic in (self._image, self._depth, self._info) if topic}
        waiting: dict[str, Any] = {}
        info = None
        with _bag_reader(self._path) as reader:
            connections = [connection for connection in reader.connections if connection.topic in wanted]
            for connection, _, raw in reader.messages(connections=connections):
                message = reader.deserialize(raw, connection.msgtype)
                if connection.topic == self._info:
                    info = message
                    continue
                if connection.topic in waiting:
                    yield _unpaired(connection.topic, waiting[connection.topic])
                waiting[connection.topic] = message
                if len(waiting) == len(wanted) - 1 and _skew_ns(waiting) <= MAX_SKEW_NS:
                    yield self._frame(waiting, info)
                    waiting = {}
        for topic, message in waiting.items():
            yield _unpaired(topic, message)

    def _frame(self, messages: dict[str, Any], info: Any) -> Frame | FrameError:
        from hwhup_ros import compressed, conversions, images

        try:
            if info is None:
                raise FrameError('missing_camera_info', f'{self._path}: an image before the first {self._info}.')
            first = messages[self._image or self._depth]
            color, depth = messages.get(self._image), messages.get(self._depth)
            to_color = compressed.decompress_color if hasattr(color, 'format') else images.to_color
            to_depth = compressed.decompress_depth if hasattr(depth, 'format') else images.to_depth
            return Frame(
                stamp_ns=_stamp_ns(first),
                frame_id=first.header.frame_id,
                color=None if color is None else to_color(color),
                depth=None if depth is None else to_depth(depth),
                intrinsics=conversions.to_intrinsics(info),
            )
        except FrameError as error:
            return error


def _find_camera_file(folder: Path) -> Path:
    for pattern in CAMERA_FILES:
        for path in sorted(folder.glob(pattern)):
            return path
    raise AssetError(f'{folder} has no camera file. Expected one of {", ".join(CAMERA_FILES)} with the intrinsics.')


def _stems(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in folder.glob('*.png')} if folder.is_dir() else {}


def _partner(files: dict[str, Path], name: str, kind: str) -> Path:
    if name not in files:
        raise FrameError(f'missing_{kind}', f'Frame {name} has no {kind}/{name}.png; expected one of each per frame.')
    return files[name]


def _read_png(path: Path, flags: int) -> np.ndarray:
    picture = cv2.imread(str(path), flags)
    if picture is None:
        raise FrameError('unreadable_file', f'{path} is not an image; expected a PNG. It is skipped.')
    return picture


@contextmanager
def _bag_reader(path: Path) -> Iterator[Any]:
    """Open any kind of bag and close it at the end."""
    try:
        from rosbags.highlevel import AnyReader, AnyReaderError
        from rosbags.typesys import Stores, get_typestore
    except ImportError as error:
        raise AssetError('Reading a bag needs the rosbags library. Install it: pip install rosbags.') from error
    try:
        # A bag that was recorded without its message definitions is read as one of this distribution.
        reader = AnyReader([path], default_typestore=get_typestore(Stores.ROS2_JAZZY))
        reader.open()
    except AnyReaderError as error:
        raise AssetError(f'{path} is not a bag that can be read: {error}. Copy or record it again.') from error
    try:
        yield reader
    finally:
        reader.close()


def _only(topics: list[str], path: Path, parameter: str, *, required: bool) -> str:
    if len(topics) == 1 or (not topics and not required):
        return topics[0] if topics else ''
    listed = ', '.join(sorted(topics)) or 'none'
    raise ConfigError(
        f'{path} has {len(topics)} topics that could be `{parameter}` ({listed}); name one in bag_{parameter}.'
    )


def _stamp_ns(message: Any) -> int:
    return int(message.header.stamp.sec) * 1_000_000_000 + int(message.header.stamp.nanosec)


def _skew_ns(messages: dict[str, Any]) -> int:
    stamps = [_stamp_ns(message) for message in messages.values()]
    return max(stamps) - min(stamps)


def _unpaired(topic: str, message: Any) -> FrameError:
    return FrameError(
        'unpaired',
        f'{topic} at {_stamp_ns(message) / 1e9:.3f} s has no partner within {MAX_SKEW_NS / 1e6:.0f} ms; it is skipped.',
    )
