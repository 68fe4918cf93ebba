"""
A site: one crib with its camera, in which infants come and go, each in a slow motion of its own.

The infants share the mattress, the bars, the light and the camera; shape, looks, place and motion are their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from hwhup_core.errors import ConfigError
from hwhup_core.synthetic.stream import CribStream, StreamConfig, Truth
from hwhup_core.types import Frame

SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class SiteConfig:
    """Which crib, and how it is watched."""

    crib_seed: int = 0
    """Which crib: seed 0 is the one that the monitor shows by default."""
    frames: int = 50
    """Of each infant, spread evenly over its motion."""
    stream: StreamConfig = field(default_factory=StreamConfig)
    """The camera, and how infants move."""

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ConfigError(f'frames is {self.frames}. Expected at least 1.')


@dataclass(frozen=True)
class Moment:
    """One frame of a site."""

    infant: int
    time_s: float
    """Into the infant's motion."""
    frame: Frame
    truth: Truth


def site_moments(config: SiteConfig, infant: int) -> Iterator[Moment]:
    """Yield the frames of one infant (a seed of its own) over one period of its motion."""
    stream = CribStream(config.stream, config.crib_seed, infant)
    for number in range(config.frames):
        time_s = number * stream.period / config.frames
        yield Moment(infant, time_s, *stream.frame(round(time_s * SECOND_NS) + 1, time_s))
