"""
Recordings: opening, checking and repairing. The layout is described in `recording_card`, writing in `recording_writer`.

A line of the index without its end is the frame that was being written when the recorder died; it is never read.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count, pairwise
from pathlib import Path
from typing import Any

from hwhup_core.config_io import load_config
from hwhup_core.data.recording_card import (
    CARD_FILE,
    FORMAT_VERSION,
    FRAMES,
    INDEX_FILE,
    LABELS,
    LOCK_FILE,
    ORPHANS,
    TEMPORARY,
    FrameRecord,
    Json,
    RecordingCard,
    StoredFile,
    record_from_line,
)
from hwhup_core.data.recording_units import checksum, decode_unit
from hwhup_core.errors import AssetError, ConfigError
from hwhup_core.types import Frame
from hwhup_core.whole_files import write_whole

__all__ = [
    'CARD_FILE', 'FORMAT_VERSION', 'FRAMES', 'INDEX_FILE', 'LABELS', 'ORPHANS', 'CheckReport', 'FrameRecord', 'Json',
    'Recording', 'RecordingCard', 'RepairReport', 'StoredFile', 'check_recording', 'is_recording', 'locked',
    'open_recording', 'read_index', 'repair_recording',
]  # fmt: skip

DROPPED_LINES = 'dropped_lines.jsonl'
"""In `orphans/`: lines that a repair took out of the index."""
NOTICES = ('stamp_not_increasing', 'sequence_gap')
"""Reasons that do not make a recording unusable and that no repair removes."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recording:
    """A recording as its index says."""

    folder: Path
    card: RecordingCard
    frames: tuple[FrameRecord, ...]

    def __len__(self) -> int:
        return len(self.frames)

    def frame(self, i: int) -> Frame:
        """Read one frame; a file that is missing, or not what the index says, is an `AssetError` with its name."""
        record = self.frames[i]
        names = {modality: str(self.folder / FRAMES / file.name) for modality, file in record.files.items()}
        contents = {modality: read_stored(self.folder, file) for modality, file in record.files.items()}
        pictures = decode_unit(contents, names)
        self._check_sizes(pictures, names)
        return Frame(record.stamp_ns, self.card.frame_id, intrinsics=self.card.intrinsics, **pictures)

    def _check_sizes(self, pictures: dict[str, Any], names: dict[str, str]) -> None:
        camera = self.card.intrinsics
        for modality, picture in pictures.items():
            height, width = picture.shape[:2]
            if camera is not None and (width, height) != (camera.width, camera.height):
                raise AssetError(
                    f'{names[modality]} is {width}x{height}, but {CARD_FILE} says {camera.width}x{camera.height}. '
                    'Copy the recording again.'
                )


def is_recording(folder: Path) -> bool:
    """Return whether a recording lies in the folder."""
    return (Path(folder) / CARD_FILE).is_file()


def open_recording(folder: Path) -> Recording:
    """Return the recording in a folder; no picture is read."""
    folder = Path(folder)
    card = read_card(folder)
    lines, torn = read_index(folder)
    if torn:
        _log.warning('%s ends within a line: the frame being written. It is left out.', folder / INDEX_FILE)
    return Recording(folder, card, tuple(record_from_line(line, place) for place, line in lines))


def read_card(folder: Path) -> RecordingCard:
    """Return the card of a recording."""
    path = folder / CARD_FILE
    if not path.is_file():
        raise AssetError(f'There is no {path}, so {folder} is no recording. Give the folder that holds {CARD_FILE}.')
    try:
        return load_config(path, RecordingCard)
    except ConfigError as error:
        raise AssetError(str(error)) from error


def read_index(folder: Path) -> tuple[list[tuple[str, bytes]], bytes]:
    """Return the whole lines of the index, each with its place for errors, and what stands after the last of them."""
    path = folder / INDEX_FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise AssetError(f'Cannot read {path}: {error.strerror}. A recording has an index; copy it whole.') from error
    *whole, torn = content.split(b'\n')
    return [(f'{path}, line {number}', line) for number, line in enumerate(whole, 1)], torn


def read_stored(folder: Path, file: StoredFile) -> bytes:
    """Return the content of a stored picture after comparing it with the index."""
    path = folder / FRAMES / file.name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise AssetError(f'Cannot read {path}: {error.strerror}. Copy it again, or repair the recording.') from error
    if len(content) != file.size or checksum(content) != file.crc32:
        raise AssetError(
            f'{path} has {len(content)} bytes with CRC32 {checksum(content):08x}, the index says {file.size} and '
            f'{file.crc32:08x}. Copy it again, or repair the recording.'
        )
    return content


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock that lets one writer (or repair) at a recording; the system drops it when the process dies."""
    handle = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(
                f'Another process is writing to {folder}. Stop it, or record to another folder.'
            ) from error
        yield
    finally:
        os.close(handle)


@dataclass(frozen=True)
class CheckReport:
    """What is wrong with a recording."""

    indexed: int
    """Whole lines of the index."""
    readable: int
    """Of these, frames whose files are all there, whole, and pictures."""
    problems: tuple[tuple[str, str], ...]
    """Reason and message of each."""
    in_use: bool
    """Whether a writer was at it meanwhile; its frame in flight is not reported."""

    @property
    def counts(self) -> Counter[str]:
        """How many problems there are, by reason."""
        return Counter(reason for reason, _ in self.problems)

    @property
    def ok(self) -> bool:
        """Whether nothing is to be repaired; stamps out of order and gaps are only notices."""
        return all(reason in NOTICES for reason, _ in self.problems)


@dataclass(frozen=True)
class RepairReport:
    """What a repair did."""

    kept: int
    """Frames in the index now."""
    dropped_lines: tuple[str, ...]
    """Reasons of the lines that were taken out of the index; they are kept in `orphans/dropped_lines.jsonl`."""
    moved: tuple[str, ...]
    """Files that now lie in `orphans/`."""


def check_recording(folder: Path) -> CheckReport:
    """Read every frame of a recording and say what is wrong; nothing is changed."""
    folder = Path(folder)
    card = read_card(folder)
    in_use = _is_locked(folder)
    survey = _survey(folder, card)
    problems = [(reason, message) for reason, message, _ in survey.bad] + _order_problems(survey.listed)
    if not in_use:
        problems += [('torn_line', f'{folder / INDEX_FILE} ends within a line')] if survey.torn else []
        problems += _stray_problems(survey.unlisted())
    return CheckReport(len(survey.good) + len(survey.bad), len(survey.good), tuple(problems), in_use)


def repair_recording(folder: Path) -> RepairReport:
    """
    Take out of the index what cannot be read, and move every file that is in no line to `orphans/`.

    A readable indexed frame is never touched, nothing is deleted, and a whole frame that is not in the index is not
    put there: nobody knows its stamp.
    """
    folder = Path(folder)
    card = read_card(folder)
    with locked(folder):
        survey = _survey(folder, card)
        dropped = [(reason, line) for reason, _, line in survey.bad]
        dropped += [('torn_line', survey.torn)] if survey.torn else []
        if dropped:
            _set_aside(folder, [line for _, line in dropped])
            write_durably(folder / INDEX_FILE, b''.join(line + b'\n' for _, line in survey.good))
        moved = _move_to_orphans(folder, survey.stray)
    return RepairReport(len(survey.good), tuple(reason for reason, _ in dropped), moved)


@dataclass(frozen=True)
class _Survey:
    """All lines and all files of a recording."""

    good: list[tuple[FrameRecord, bytes]]
    bad: list[tuple[str, str, bytes]]
    """Reason, message and line."""
    listed: list[FrameRecord]
    """Of the lines that can be understood, readable or not."""
    torn: bytes
    stray: list[str]
    """Files in `frames/` that belong to no good line, sorted."""

    def unlisted(self) -> list[str]:
        """Return the files that no line names."""
        listed = {file.name for record in self.listed for file in record.files.values()}
        return [name for name in self.stray if name not in listed]


def _survey(folder: Path, card: RecordingCard) -> _Survey:
    survey = _Survey([], [], [], b'', [])
    taken: set[str] = set()
    lines, torn = read_index(folder)
    for place, line in lines:
        try:
            record = record_from_line(line, place)
        except AssetError as error:
            survey.bad.append(('bad_line', str(error), line))
            continue
        names = {file.name for file in record.files.values()}
        if names & taken:
            survey.bad.append(('duplicate_unit', f'{place} names {sorted(names & taken)[0]} again', line))
            continue
        survey.listed.append(record)
        fault = _fault(Recording(folder, card, (record,)))
        if fault:
            survey.bad.append((*fault, line))
        else:
            taken |= names
            survey.good.append((record, line))
    present = sorted(path.name for path in (folder / FRAMES).glob('*') if path.is_file())
    return replace(survey, torn=torn, stray=[name for name in present if name not in taken])


def _fault(one: Recording) -> tuple[str, str] | None:
    """Return reason and message if the only frame of this recording cannot be read."""
    missing = [file.name for file in one.frames[0].files.values() if not (one.folder / FRAMES / file.name).is_file()]
    if missing:
        return 'missing_file', f'There is no {one.folder / FRAMES / missing[0]}.'
    try:
        one.frame(0)
    except AssetError as error:
        return 'unreadable_file', str(error)
    return None


def _order_problems(records: list[FrameRecord]) -> list[tuple[str, str]]:
    """Return the notices about frames that follow each other."""
    problems = []
    for one, other in pairwise(records):
        if other.stamp_ns <= one.stamp_ns:
            problems.append(
                (
                    'stamp_not_increasing',
                    f'{other.unit} has stamp {other.stamp_ns}, {one.unit} before it {one.stamp_ns}',
                )
            )
        if other.sequence != one.sequence + 1:
            problems.append(('sequence_gap', f'{other.unit} has number {other.sequence} after {one.sequence}'))
    return problems


def _stray_problems(names: list[str]) -> list[tuple[str, str]]:
    """Return an entry for each unfinished file and one for each frame that has files but no line."""
    problems = [('temporary_file', f'{name} was being written') for name in names if name.endswith(TEMPORARY)]
    units = sorted({unit_of(name) for name in names if not name.endswith(TEMPORARY)})
    return problems + [('orphan_unit', f'{unit} has files but no whole line in the index') for unit in units]


def unit_of(file_name: str) -> str:
    """Return the unit that a file in `frames/` belongs to."""
    return file_name.lstrip('.').split('.')[0]


def _is_locked(folder: Path) -> bool:
    """Return whether a writer is at work; needs no right to write."""
    try:
        handle = os.open(folder / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def _set_aside(folder: Path, lines: list[bytes]) -> None:
    """Keep lines that leave the index."""
    (folder / ORPHANS).mkdir(exist_ok=True)
    with (folder / ORPHANS / DROPPED_LINES).open('ab') as file:
        file.writelines(line + b'\n' for line in lines)
        file.flush()
        os.fsync(file.fileno())


def _move_to_orphans(folder: Path, names: list[str]) -> tuple[str, ...]:
    """Move files out of `frames/`; a name that lies there already gets a number."""
    target = folder / ORPHANS
    if names:
        target.mkdir(exist_ok=True)
    for name in names:
        free = next(each for each in _numbered(target / name.lstrip('.')) if not each.exists())
        (folder / FRAMES / name).rename(free)
    return tuple(names)


def _numbered(path: Path) -> Iterator[Path]:
    yield path
    yield from (path.with_name(f'{path.name}.{number}') for number in count(1))


def write_durably(path: Path, content: bytes) -> None:
    """Write a file that is whole at any moment, also after a power loss."""
    write_whole(path, content)
    sync(path.parent)


def sync(path: Path) -> None:
    """Force a file or the names in a folder to the disk."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
