"""Which colour and which depth image were taken at the same time."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

from hwhup_core.errors import FrameError


@dataclass(frozen=True)
class Pairing:
    """Which images make a frame."""

    pairs: tuple[tuple[int | None, int | None], ...]
    """Positions in the colour and in the depth topic, in the order of their stamps; None without that topic."""
    refused: tuple[FrameError, ...]
    """One for each image that makes no frame: `unpaired`, or `zero_stamp`."""


def pair_by_stamp(colors: tuple[str, list[int]], depths: tuple[str, list[int]], max_skew_ns: int) -> Pairing:
    """
    Pair those colour and depth images that are each other's nearest and differ by at most `max_skew_ns`.

    Takes topic and stamps (ns) of each. Of several equally near the earlier one is taken.
    """
    sides = [sorted((stamp, place) for place, stamp in enumerate(stamps) if stamp) for stamps in (colors[1], depths[1])]
    there, back = _nearest(sides[0], sides[1]), _nearest(sides[1], sides[0])
    mutual = [
        (first, other)
        for first, other in enumerate(there)
        if other is not None and back[other] == first and abs(sides[0][first][0] - sides[1][other][0]) <= max_skew_ns
    ]
    refused = [zero_stamp(topic) for topic, stamps in (colors, depths) for stamp in stamps if not stamp]
    for side, (topic, _) in enumerate((colors, depths)):
        used = {pair[side] for pair in mutual}
        refused += [_unpaired(topic, s, max_skew_ns) for k, (s, _) in enumerate(sides[side]) if k not in used]
    return Pairing(tuple((sides[0][one][1], sides[1][other][1]) for one, other in mutual), tuple(refused))


def _nearest(own: list[tuple[int, int]], others: list[tuple[int, int]]) -> list[int | None]:
    """Return for each (stamp, place) of one side the index of the nearest on the other; both sorted."""
    stamps = [stamp for stamp, _ in others]
    found: list[int | None] = []
    for stamp, _ in own:
        after = bisect_left(stamps, stamp)
        near = [k for k in (after - 1, after) if 0 <= k < len(stamps)]
        found.append(min(near, key=lambda k: abs(stamps[k] - stamp)) if near else None)
    return found


def zero_stamp(topic: str) -> FrameError:
    """Return the refusal of an image without a stamp."""
    return FrameError('zero_stamp', f'{topic} has an image with stamp 0; nobody knows what it belongs to.')


def _unpaired(topic: str, stamp_ns: int, max_skew_ns: int) -> FrameError:
    return FrameError(
        'unpaired',
        f'{topic} at {stamp_ns / 1e9:.3f} s has no partner within {max_skew_ns / 1e6:.0f} ms; it is skipped.',
    )
