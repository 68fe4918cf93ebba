"""What a pose node tells about itself in its diagnostics. No node in here."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from hwhup_ros.diagnostics import Meter
from hwhup_ros.live_model import LiveModel


@dataclass(frozen=True)
class PoseMeters:
    """Quantities of the last answers."""

    latency: Meter = field(default_factory=Meter)
    """Seconds from the stamp of the image to its answer."""
    skew: Meter = field(default_factory=Meter)
    """Seconds between the stamps of a pair."""
    depth_error: Meter = field(default_factory=Meter)
    """Aligned depth error, metres."""

    def values(self, now: float) -> dict[str, object]:
        """Return them for the diagnostics."""
        return {
            'pose rate [Hz]': self.latency.rate(now),
            'latency p50 [s]': self.latency.percentile(50),
            'latency p95 [s]': self.latency.percentile(95),
            'skew p95 [s]': self.skew.percentile(95),
            'aligned depth error p50 [m]': self.depth_error.percentile(50),
        }


def model_values(model: LiveModel | None, now: float) -> dict[str, object]:
    """Return who answers, and whether the room is still the one that the weights know."""
    if model is None:
        return {'body': '', 'weights': '', 'drift': '', 'drift limit [m]': math.nan}
    body = model.engine.body
    return {
        'body': f'{body.body_id} {body.hash}',
        'weights': model.weights_hash,
        'drift': model.alarm.state(now).value,
        'drift limit [m]': model.alarm.limit,
    }
