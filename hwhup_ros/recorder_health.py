"""What a recorder tells about itself: state, status message, diagnostics. No node in here."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from diagnostic_msgs.msg import DiagnosticStatus
from std_msgs.msg import Header

from hwhup_core.recording.config import Privacy
from hwhup_core.recording.session import MEGABYTE, SessionStatus, disk_free
from hwhup_core.recording.tally import Counts, Outcome
from hwhup_ros.diagnostics import Health
from hwhup_ros.msg import RecorderStatus
from hwhup_ros.recorder_config import RecorderNodeConfig
from hwhup_ros.recorder_intake import Intake

RECENT_S = 10.0
"""What happened so long ago no longer makes a warning."""
CHANGED = ('camera_changed', 'camera_info_mismatch')
"""Codes of frames that are not of the camera on the card."""
STORED: dict[Privacy, str] = {'no_color': 'off', 'head_blurred': 'blurred', 'full': 'full'}
"""Privacy -> what the status message calls it."""
STATES = {
    RecorderStatus.STATE_IDLE: 'not active',
    RecorderStatus.STATE_RECORDING: 'recording',
    RecorderStatus.STATE_PAUSED: 'paused by ~/pause',
    RecorderStatus.STATE_FULL: 'full',
    RecorderStatus.STATE_ERROR: 'error',
}


@dataclass(frozen=True)
class Recent:
    """What happened in the last seconds."""

    arrived: int = 0
    written: int = 0
    rejected: int = 0
    dropped: int = 0
    lost: int = 0
    """Images lost by the middleware."""
    changed: int = 0
    """Frames of another camera."""


@dataclass
class History:
    """Counts of the last seconds, to tell what is new."""

    _past: deque[tuple[float, Recent]] = field(default_factory=deque)

    def add(self, counts: Counts, lost: int, now: float) -> Recent:
        """Return what happened in the last seconds; `lost` is the number of all images lost on the way."""
        outcomes = counts.outcomes
        total = Recent(
            arrived=counts.arrived,
            written=outcomes[Outcome.WRITTEN],
            rejected=outcomes[Outcome.REJECTED],
            dropped=outcomes[Outcome.DROPPED],
            lost=lost,
            changed=sum(counts.reasons.get(code, 0) for code in CHANGED),
        )
        self._past.append((now, total))
        while self._past[0][0] < now - RECENT_S:
            self._past.popleft()
        first = self._past[0][1]
        return Recent(**{name: value - getattr(first, name) for name, value in vars(total).items()})


@dataclass(frozen=True)
class Moment:
    """All that is to be told about one moment."""

    state: int
    """One of RecorderStatus.STATE_*."""
    counts: Counts
    session: SessionStatus | None
    """None before the first frame."""
    recent: Recent
    trouble: str
    """Why nothing is recorded: the recording cannot be written, is full, or no frame comes; empty if all is well."""
    last_error: str
    """About the last frame that could not be used."""


def state_of(active: Intake | None) -> int:
    """Return one of RecorderStatus.STATE_*."""
    if active is None:
        return int(RecorderStatus.STATE_IDLE)
    if active.failure:
        return int(RecorderStatus.STATE_ERROR)
    if active.session is not None and active.session.full:
        return int(RecorderStatus.STATE_FULL)
    return int(RecorderStatus.STATE_PAUSED if active.paused else RecorderStatus.STATE_RECORDING)


def to_status(moment: Moment, config: RecorderNodeConfig, header: Header) -> RecorderStatus:
    """Return the status message."""
    session, outcomes = moment.session, moment.counts.outcomes
    reasons = dict(sorted(moment.counts.reasons.items()))
    return RecorderStatus(
        header=header,
        state=moment.state,
        recording=str(config.path()) if config.folder else '',
        color_storage=STORED[config.privacy],
        frames_in=moment.counts.arrived,
        frames_written=outcomes[Outcome.WRITTEN],
        frames_skipped=outcomes[Outcome.SKIPPED],
        frames_rejected=outcomes[Outcome.REJECTED],
        frames_dropped=outcomes[Outcome.DROPPED],
        reasons=list(reasons),
        reason_counts=list(reasons.values()),
        frames_total=0 if session is None else session.total,
        disk_free=_free(moment, config),
        write_rate=0.0 if session is None else session.write_rate / MEGABYTE,
        seconds_left=math.nan if session is None else session.seconds_left,
        message=moment.trouble or _warning(moment) or moment.last_error,
    )


def _free(moment: Moment, config: RecorderNodeConfig) -> int:
    if moment.session is not None:
        return moment.session.disk_free
    return disk_free(config.path()) if config.folder else 0


def health_of(name: str, moment: Moment, config: RecorderNodeConfig) -> Health:
    """Return the diagnostics."""
    return Health(name, *_level(moment), _values(moment, config))


def _level(moment: Moment) -> tuple[bytes, str]:
    state = STATES[moment.state]
    if moment.state in (RecorderStatus.STATE_ERROR, RecorderStatus.STATE_FULL):
        return DiagnosticStatus.ERROR, f'{state}: {moment.trouble}'
    if moment.state != RecorderStatus.STATE_RECORDING:
        return DiagnosticStatus.WARN, state
    if moment.recent.changed:
        return DiagnosticStatus.ERROR, f'the camera has changed, nothing of it is recorded: {moment.last_error}'
    if moment.trouble:
        return DiagnosticStatus.ERROR, moment.trouble
    warning = _warning(moment)
    return (DiagnosticStatus.WARN, warning) if warning else (DiagnosticStatus.OK, state)


def _warning(moment: Moment) -> str:
    recent = moment.recent
    if recent.dropped or recent.lost:
        return (
            f'{recent.dropped} frames dropped and {recent.lost} images lost on the way in the last {RECENT_S:g} s: '
            'lower the rate or the resolution, or free processor and disk'
        )
    if recent.rejected and not recent.written:
        return f'every frame of the last {RECENT_S:g} s was rejected: {moment.counts.reasons}'
    return ''


def _values(moment: Moment, config: RecorderNodeConfig) -> dict[str, object]:
    session, counts = moment.session, moment.counts
    values: dict[str, object] = {
        'recording': config.folder,
        'privacy': config.privacy,
        'frames in': counts.arrived,
        **{f'frames {outcome.value}': number for outcome, number in counts.outcomes.items()},
        'frames in work': counts.pending,
        **{f'reason {code}': number for code, number in sorted(counts.reasons.items())},
        'disk free [MB]': _free(moment, config) / MEGABYTE,
        'last error': moment.last_error,
    }
    if session is not None:
        values |= {
            'frames in the recording': session.total,
            'written [MB/s]': session.write_rate / MEGABYTE,
            'time left [s]': session.seconds_left,
        }
    return values
