"""
Deleting recordings whose time is over.

The time counts from `created` on the card, the first start: also the last frame of a recording that was resumed for
weeks is kept no longer than was promised for the first. Of a recording only what recorders and labels put there is
deleted, never another file that lies in the folder.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from hwhup_core.data.recording import is_recording, locked, read_card
from hwhup_core.data.recording_card import CARD_FILE, FRAMES, INDEX_FILE, LABELS, LOCK_FILE, ORPHANS, RecordingCard
from hwhup_core.errors import AssetError, ConfigError, HwhupError

OWN_FOLDERS, OWN_FILES = (FRAMES, LABELS, ORPHANS), (INDEX_FILE, CARD_FILE, LOCK_FILE)
"""What a recording consists of, in the order of deletion: with the card, what is left is found again."""


@dataclass(frozen=True)
class Kept:
    """A recording that stays, or what is wrong with it."""

    folder: Path
    expires: datetime | None
    """None: never, or unknown because of `fault`."""
    fault: str = ''
    """Why nobody can say whether its time is over, or why it could not be deleted."""


@dataclass(frozen=True)
class Expired:
    """A recording whose time is over."""

    folder: Path
    expired: datetime
    frames: int
    """Files below `frames/`, deleted with the labels."""
    size: int
    """Bytes of all that is deleted."""
    foreign: tuple[str, ...]
    """Names in the folder that are none of ours; they stay."""


@dataclass(frozen=True)
class RetentionReport:
    """What a folder of recordings holds at one moment."""

    expired: tuple[Expired, ...]
    kept: tuple[Kept, ...]


def survey_retention(root: Path, now: datetime | None = None) -> RetentionReport:
    """Say which recordings in and below a folder have expired (`now` with a time zone); nothing is changed."""
    root = Path(root)
    if not root.is_dir():
        raise ConfigError(f'{root} is no folder. Give the one in which the recordings lie.')
    now = now or datetime.now(timezone.utc)
    expired, kept = [], list[Kept]()
    for folder in recordings_below(root):
        try:
            end = expiry(read_card(folder))
            if end is not None and end <= now:
                expired.append(_expired(folder, end))
            else:
                kept.append(Kept(folder, end))
        except HwhupError as error:
            kept.append(Kept(folder, None, str(error)))
    return RetentionReport(tuple(expired), tuple(kept))


def recordings_below(root: Path) -> Iterator[Path]:
    """Yield every recording in or below a folder, sorted; links are not followed, nor is a recording searched."""
    for place, folders, _ in os.walk(root):
        folders.sort()
        if is_recording(Path(place)):
            folders.clear()
            yield Path(place)


def expiry(card: RecordingCard) -> datetime | None:
    """Return when a recording is to be deleted; None: never. A card that cannot say raises AssetError."""
    if card.retention_days is None:
        return None
    try:
        created = datetime.fromisoformat(card.created.replace('Z', '+00:00'))
        created = created if created.tzinfo else created.replace(tzinfo=timezone.utc)
        return created + timedelta(days=card.retention_days)
    except (ValueError, OverflowError) as error:
        raise AssetError(
            f'The card says retention_days {card.retention_days:g} and created {card.created!r}, expected a time such '
            f'as 2026-01-31T12:00:00+00:00. Correct {CARD_FILE}, or delete the recording by hand.'
        ) from error


def delete_recording(expired: Expired) -> None:
    """Delete what belongs to a recording, the card last; raises where somebody writes to it or a link lies in it."""
    folder = expired.folder
    links = [name for name in (*OWN_FOLDERS, *OWN_FILES) if (folder / name).is_symlink()]
    if links:
        raise AssetError(f'{folder}/{links[0]} is a link. Delete this recording by hand, and what the link points to.')
    try:
        with locked(folder):
            for name in OWN_FOLDERS:
                if (folder / name).is_dir():
                    shutil.rmtree(folder / name)
            for name in OWN_FILES:
                (folder / name).unlink(missing_ok=True)
        if not expired.foreign:
            folder.rmdir()
    except OSError as error:
        raise AssetError(f'Cannot delete {error.filename}: {error.strerror}. Delete {folder} by hand.') from error


def _expired(folder: Path, end: datetime) -> Expired:
    own = [folder / name for name in OWN_FILES] + [path for each in OWN_FOLDERS for path in (folder / each).rglob('*')]
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in (*OWN_FOLDERS, *OWN_FILES))
    size = sum(path.stat().st_size for path in own if path.is_file() and not path.is_symlink())
    frames = sum(path.is_file() for path in (folder / FRAMES).glob('*'))
    return Expired(folder, end, frames, size, tuple(foreign))
