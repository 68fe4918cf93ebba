"""
Which frames of a recording are trained on, which choose the epoch, and which are held out: by time, with gaps.

Frames that follow each other show nearly the same. So time is cut into blocks, whole blocks are held out, and what lies
within a gap of them is not used at all.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from hwhup_core.errors import ConfigError

EVERY = 5
"""One block of so many is held out, and one of twice as many chooses the epoch."""
VALIDATION_AFTER = 2
"""Blocks from a held-out one to the next that chooses the epoch."""
BLOCKS = (10, 50)
"""Fewest and most blocks; the fewest still hold out two."""
LEAST_TRAINING, LEAST_VALIDATION, LEAST_HELD_OUT = 16, 2, 6
"""Frames that each part needs."""
BORDER = 'near_another_part'
"""Why a frame near a border is left out."""


@dataclass(frozen=True)
class Moment:
    """A frame and its time."""

    frame: str
    time_s: float


@dataclass(frozen=True)
class FrameSplit:
    """The frames of each part, in the order of time."""

    training: tuple[str, ...]
    validation: tuple[str, ...]
    """Choose the epoch; never trained on."""
    held_out: tuple[str, ...]
    """Looked at once before and once after the training."""
    blocks: Mapping[str, int]
    """Held-out frame -> its block of time; frames of one block are not independent."""
    left_out: Counter[str]
    """By reason."""


def split_by_time(moments: Sequence[Moment], gap_s: float, preferred: Collection[str] = ()) -> FrameSplit:
    """
    Return the parts; two frames of different parts are at least `gap_s` seconds apart.

    Which blocks are held out is fixed by time alone, up to a shift: the one that holds out most of the `preferred`
    frames (those that people labelled).
    """
    if gap_s < 0:
        raise ConfigError(f'The gap is {gap_s} s. Expected at least 0.')
    ordered = sorted(moments, key=lambda moment: moment.time_s)
    times = np.array([moment.time_s for moment in ordered], np.float64)
    names = [moment.frame for moment in ordered]
    blocks = _blocks(times, gap_s)
    shift = _shift(blocks, np.array([name in preferred for name in names], bool))
    held = blocks % EVERY == shift
    checking = blocks % (2 * EVERY) == (shift + VALIDATION_AFTER) % (2 * EVERY)
    checked = checking & ~_near(times, times[held], gap_s)
    trained = ~held & ~checking & ~_near(times, times[held], gap_s) & ~_near(times, times[checked], gap_s)
    _require_enough([int(np.count_nonzero(part)) for part in (trained, checked, held)], times, gap_s)
    left = int(np.count_nonzero(~(trained | checked | held)))
    return FrameSplit(
        training=tuple(names[place] for place in np.flatnonzero(trained)),
        validation=tuple(names[place] for place in np.flatnonzero(checked)),
        held_out=tuple(names[place] for place in np.flatnonzero(held)),
        blocks={names[place]: int(blocks[place]) for place in np.flatnonzero(held)},
        left_out=Counter({BORDER: left} if left else {}),
    )


def _shift(blocks: Int[ndarray, ' n'], preferred: Bool[ndarray, ' n']) -> int:
    """Return which block of every five is held out: the one with most of the preferred frames, else the third."""
    shifts = [(2 + number) % EVERY for number in range(EVERY)]
    return max(shifts, key=lambda shift: np.count_nonzero(preferred[blocks % EVERY == shift]))


def _blocks(times: Float[ndarray, ' n'], gap_s: float) -> Int[ndarray, ' n']:
    """Return the block of each frame: of equally many frames, about three gaps long or longer."""
    if len(times) == 0:
        return np.zeros(0, int)
    active = float(np.minimum(np.diff(times), gap_s).sum()) if gap_s else math.inf
    wanted = min(active / (3 * gap_s) if gap_s else math.inf, len(times) / 3, BLOCKS[1])
    count = max(int(wanted), BLOCKS[0])
    return np.arange(len(times)) * count // len(times)


def _near(times: Float[ndarray, ' n'], others: Float[ndarray, ' m'], gap_s: float) -> Bool[ndarray, ' n']:
    """Return which times are less than a gap away from any of the others (both sorted)."""
    if len(others) == 0:
        return np.zeros(len(times), bool)
    after = np.searchsorted(others, times)
    before = np.abs(times - others[np.maximum(after - 1, 0)])
    following = np.abs(others[np.minimum(after, len(others) - 1)] - times)
    near: ndarray = np.minimum(before, following) < gap_s
    return near


def _require_enough(counts: Sequence[int], times: Float[ndarray, ' n'], gap_s: float) -> None:
    needed = (LEAST_TRAINING, LEAST_VALIDATION, LEAST_HELD_OUT)
    if all(count >= least for count, least in zip(counts, needed)):
        return
    lasts = float(times[-1] - times[0]) if len(times) else 0.0
    found = ', '.join(f'{count} {name}' for count, name in zip(counts, ('to train on', 'to check', 'to hold out')))
    raise ConfigError(
        f'{len(times)} usable labelled frames over {lasts:.0f} s give {found}, {gap_s:g} s apart; at least '
        f'{needed[0]}, {needed[1]} and {needed[2]} are needed. Record or label more: about 60 frames over '
        f'{max(10 * 3 * gap_s, 30):.0f} s or longer.'
    )
