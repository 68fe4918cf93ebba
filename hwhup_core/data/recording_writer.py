"""
Writing a recording so that a killed process loses at most the frame in flight.

Each file of a frame is written under a temporary name and renamed; then one line is appended to the index by a single
write. What a process has written and renamed survives its death (kill -9) without any fsync, for the kernel has it.
fsync is for power loss alone: with `sync_every` = 1 that also costs at most the frame in flight, with n it can cost
the last n frames, whose lines `repair_recording` then takes out. A frame of 640x480 colour and depth takes 10 ms of one
core; its four fsyncs took 2 ms on an idle disk and up to 30 ms on a busy one, so at 30 Hz sync every second.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType

import yaml

from hwhup_core.config_io import to_plain
from hwhup_core.data.recording import (
    is_recording,
    locked,
    open_recording,
    read_card,
    read_index,
    sync,
    unit_of,
    write_durably,
)
from hwhup_core.data.recording_card import (
    CARD_FILE,
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
    plain_json,
    require_same_source,
)
from hwhup_core.data.recording_units import EncodedUnit, checksum, encode_unit
from hwhup_core.errors import AssetError, ConfigError, HwhupError
from hwhup_core.types import Frame

LEAST_FREE_BYTES = 64 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT)
_log = logging.getLogger(__name__)


class RecordingFull(HwhupError):
    """There is no room for another frame; the recording is whole."""


class RecordingWriter:
    """
    The only writer of a recording. Its methods may be called from several threads; close it, or use it in a `with`.

    A new recording is made, or with `resume` the one that is there goes on: then the card that lies there stays, and
    a changed camera, resolution, lens or encoding is refused. The first stop of a resumed recorder may have been so
    early that nothing is there; then a new one is made.
    """

    def __init__(
        self,
        folder: Path,
        card: RecordingCard,
        resume: bool = False,
        least_free_bytes: int = LEAST_FREE_BYTES,
        sync_every: int = 1,
    ) -> None:
        if sync_every < 1 or least_free_bytes < 0:
            raise ConfigError(f'sync_every {sync_every}, least_free_bytes {least_free_bytes}. Expected at least 1, 0.')
        self.folder = Path(folder)
        self._least_free_bytes = least_free_bytes
        self._sync_every = sync_every
        self._unsynced: list[Path] = []
        self._mutex = threading.Lock()
        self._next_unit = self._next_sequence = self._count = self._size = 0
        self._rejected: Counter[str] = Counter()
        with ExitStack() as stack, _own_errors(self.folder):
            require_free_folder(self.folder, resume)
            (self.folder / FRAMES).mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(self.folder))
            self.card = self._resume(card) if is_recording(self.folder) else self._begin(card)
            self._index = os.open(self.folder / INDEX_FILE, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            stack.callback(os.close, self._index)
            self._open = stack.pop_all()
        self._closed = False

    def _begin(self, card: RecordingCard) -> RecordingCard:
        """Write the card of a new recording, after its empty index: what has a card has an index."""
        created = card.created or datetime.now(timezone.utc).isoformat(timespec='seconds')
        card = replace(card, created=created, written=0)
        write_durably(self.folder / INDEX_FILE, b'')
        _write_card(self.folder, card)
        return card

    def _resume(self, card: RecordingCard) -> RecordingCard:
        """Go on after the last whole line; the names of frames that were lost are not used again."""
        old = read_card(self.folder)
        require_same_source(old, card)
        _, torn = read_index(self.folder)
        path = self.folder / INDEX_FILE
        if torn:
            os.truncate(path, path.stat().st_size - len(torn))
        frames = open_recording(self.folder).frames
        names = [path.name for place in (FRAMES, ORPHANS) for path in (self.folder / place).glob('*')]
        units = [int(unit) for unit in (*map(unit_of, names), *(each.unit for each in frames)) if unit.isdigit()]
        self._next_unit = max(units, default=-1) + 1
        self._next_sequence = frames[-1].sequence + 1 if frames else 0
        self._count = len(frames)
        self._size = sum(file.size for each in frames for file in each.files.values())
        self._rejected.update(old.rejected)
        return old

    @property
    def count(self) -> int:
        """Return the frames in the index."""
        return self._count

    @property
    def size(self) -> int:
        """Return the bytes of all pictures in the index."""
        return self._size

    def write(self, frame: Frame, metadata: Mapping[str, Json]) -> FrameRecord:
        """
        Store a frame and return its line of the index.

        Raises `FrameError` for a frame that does not fit the card and `RecordingFull` when there is no room for it.
        """
        return self.append(encode_unit(frame, self.card), metadata)

    def append(self, unit: EncodedUnit, metadata: Mapping[str, Json]) -> FrameRecord:
        """Store a frame that was encoded before, for instance in another thread by `encode_unit`."""
        with self._mutex, _own_errors(self.folder):
            if self._closed:
                raise ConfigError(f'The recording {self.folder} is closed. Open another writer with resume.')
            self._require_room(unit.size())
            record = self._record(unit, metadata)
            self._store(record, unit)
            self._next_unit += 1
            self._next_sequence += 1
            self._count += 1
            self._size += unit.size()
            return record

    def reject(self, reason: str, count: int = 1) -> None:
        """Count frames that were not kept; the numbers go to the card when the recording is closed."""
        with self._mutex:
            self._rejected[reason] += count

    def _require_room(self, size: int) -> None:
        found = os.statvfs(self.folder)
        free = found.f_bavail * found.f_frsize
        if free < self._least_free_bytes + size:
            raise RecordingFull(
                f'{self.folder} has {free / 2**20:.1f} MiB left, at least {self._least_free_bytes / 2**20:.1f} MiB are '
                'to stay free. The recording is whole; make room and resume it.'
            )

    def _record(self, unit: EncodedUnit, metadata: Mapping[str, Json]) -> FrameRecord:
        name = f'{self._next_unit:06d}'
        files = {
            modality: StoredFile(f'{name}.{unit.suffixes[modality]}', len(content), checksum(content))
            for modality, content in unit.files.items()
        }
        return FrameRecord(name, self._next_sequence, unit.stamp_ns, files, plain_json(metadata))

    def _store(self, record: FrameRecord, unit: EncodedUnit) -> None:
        """Write the files, then the line; whatever fails, nothing of the frame stays."""
        paths = {name: self.folder / FRAMES / file.name for name, file in record.files.items()}
        before = os.fstat(self._index).st_size
        try:
            for name, path in paths.items():
                _write_file(path, unit.files[name])
            _append(self._index, record.line())
            self._unsynced += paths.values()
            if (record.sequence + 1) % self._sync_every == 0:
                self._sync()
        except BaseException:
            os.ftruncate(self._index, before)
            self._unsynced = [path for path in self._unsynced if path not in paths.values()]
            for path in paths.values():
                path.unlink(missing_ok=True)
                _part(path).unlink(missing_ok=True)
            raise

    def _sync(self) -> None:
        """Force pictures, their names and the index to the disk, in this order."""
        for path in self._unsynced:
            sync(path)
        sync(self.folder / FRAMES)
        os.fsync(self._index)
        self._unsynced = []

    def close(self) -> None:
        """Force everything to the disk and let go of the recording; a second call does nothing."""
        with self._mutex, _own_errors(self.folder):
            if self._closed:
                return
            self._closed = True
            with self._open:
                self._sync()
                try:
                    _write_card(self.folder, replace(self.card, written=self._count, rejected=dict(self._rejected)))
                except OSError as error:  # The counts are a cache: a full disk must not spoil a whole recording.
                    _log.warning('The counts of %s are not brought up to date: %s', self.folder, error.strerror)

    def __enter__(self) -> RecordingWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def require_free_folder(folder: Path, resume: bool) -> None:
    """Refuse to record into a folder that holds a recording (unless to `resume`), something else, or a lost card."""
    if is_recording(folder) and not resume:
        raise ConfigError(f'There is a recording in {folder}. Resume it, or record to another folder.')
    if is_recording(folder) or not folder.exists():
        return
    # A recorder that was killed before it wrote its card leaves these behind, without a frame.
    own = (FRAMES, LOCK_FILE, INDEX_FILE, CARD_FILE, LABELS)
    others = (
        [path.name for path in folder.iterdir() if not path.name.startswith(own)] if folder.is_dir() else ['a file']
    )
    frames = [f'{FRAMES}/{path.name}' for path in (folder / FRAMES).glob('*')]
    if others or frames:
        found = sorted(others + frames)[:3]
        raise ConfigError(f'{folder} has no {CARD_FILE} and holds {found}. Record to a new or empty folder.')


def _write_card(folder: Path, card: RecordingCard) -> None:
    text = yaml.safe_dump(to_plain(card), sort_keys=False, allow_unicode=True)
    write_durably(folder / CARD_FILE, text.encode())


def _write_file(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all."""
    part = _part(path)
    with part.open('wb') as file:
        file.write(content)
    os.replace(part, path)


def _part(path: Path) -> Path:
    return path.with_name(f'.{path.name}{TEMPORARY}')


def _append(handle: int, line: bytes) -> None:
    """Append a line by one write; the caller takes back half a line."""
    if os.write(handle, line) != len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def _own_errors(folder: Path) -> Iterator[None]:
    """Turn errors of the system into ours."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise RecordingFull(
                f'There is no room left at {folder} ({error.strerror}). The recording is whole; make room and '
                'resume it.'
            ) from error
        raise AssetError(f'Cannot write to {folder}: {error.strerror} ({error.filename}). Check the disk.') from error
