"""
Recorded RGB-D frames, one after the other: a folder of PNG files, or a bag of ROS 1 or ROS 2.

A frame that cannot be used comes out, in its place, as the `FrameError` that says why: nothing goes missing silently.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from hwhup_core.data.camera_file import read_camera_file
from hwhup_core.errors import AssetError, FrameError
from hwhup_core.types import Frame
from hwhup_ros.bags import BagRecording, BagTopics, is_bag

COLOR_FOLDERS = ('color', 'rgb')
CAMERA_FILES = ('camera.yaml', 'camera.yml', 'camera.json', 'camera_info.yaml', 'cam_params*.json', 'intrinsics*.json')
SATURATED = 65535
"""What a 16-bit depth camera writes where it measured nothing."""
NO_STAMP = 0
"""Stamp of a frame whose recording does not say when it was taken."""
STAMP_DIGITS = 16
"""A file name of this many digits is its stamp, nanoseconds since the epoch; a shorter one just counts."""


class Recording(Protocol):
    """What both kinds of recording can do."""

    frame_count: int
    """Frames to expect; of a bag it is an upper bound."""
    has_stamps: bool
    """Whether the frames say when they were taken."""

    def frames(self) -> Iterator[Frame | FrameError]:
        """Read from the start; a frame that cannot be used is returned as its error."""
        ...


def open_recording(path: Path, topics: BagTopics | None = None) -> Recording:
    """Return the recording at `path`: a folder with `color/` and/or `depth/`, a rosbag2 bag, or a ROS 1 .bag."""
    if not path.exists():
        raise AssetError(f'No recording at {path}. Expected a folder with color/ and depth/ PNG files, or a bag.')
    return BagRecording(path, topics or BagTopics()) if is_bag(path) else FolderRecording(path)


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
