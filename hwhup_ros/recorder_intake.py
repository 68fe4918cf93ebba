"""The thread between a recorder's callbacks and its recording: decodes, opens it at the first frame, judges."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from hwhup_core.data.recording_card import RecordingCard
from hwhup_core.errors import FrameError
from hwhup_core.recording.session import RecordingSession
from hwhup_core.recording.tally import Outcome, Tally
from hwhup_core.types import BodyEstimate, Frame
from hwhup_ros.conversions import from_pose_message
from hwhup_ros.diagnostics import explained
from hwhup_ros.estimate_wait import Answered
from hwhup_ros.frame_builder import FrameBuilder
from hwhup_ros.recorder_config import RecorderNodeConfig, card_of
from hwhup_ros.synchronizer import Streams

STOP_TIMEOUT_S = 60.0
"""A stop writes at most two full queues; longer means that the disk hangs."""


class Intake:
    """
    Takes pairs in one thread, and stores them in its own; `tally` counts every one of them.

    What makes a recording impossible (another camera, a folder that cannot be written to) is kept in `failure`.
    """

    def __init__(
        self, config: RecorderNodeConfig, streams: Streams, resume: bool, complain: Callable[[str, str], None]
    ) -> None:
        """`complain(reason, text)` is called for frames that cannot be used; `streams` are those of the pairs."""
        self.tally = Tally()
        self.session: RecordingSession | None = None
        self.failure = ''
        self.paused = False
        self._config = config
        self._resume = resume
        self._complain = complain
        modalities = frozenset({'rgb'} if config.color_is_used else ()) | ({'depth'} if config.use_depth else set())
        self._builder = FrameBuilder(modalities, streams, config.image_transport, config.image_backend)
        self._queue: queue.Queue[Answered | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, name='intake', daemon=True)

    def start(self) -> Intake:
        """Start the thread."""
        self._thread.start()
        return self

    def submit(self, answered: Answered) -> None:
        """Hand over a pair that the tally has counted, without waiting; one too many is dropped."""
        if self._queue.qsize() >= self._config.storage.queue:
            self.tally.settle(Outcome.DROPPED, 'decoder_too_slow')
            return
        self._queue.put(answered)

    def stop(self) -> bool:
        """Store what waits and close the recording; False if that does not end."""
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join(STOP_TIMEOUT_S)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (answered := self._queue.get()) is not None:
            self._take(answered)
        if self.session is not None:
            try:
                self.session.close()
            except Exception as error:  # The thread has nobody to tell but us.
                self._fail(explained(error))

    def _take(self, answered: Answered) -> None:
        """Settle one pair, whatever happens to it."""
        if self.paused:
            self.tally.settle(Outcome.SKIPPED, 'paused')
        elif self.failure:
            self.tally.settle(Outcome.DROPPED, 'no_recording')
        else:
            try:
                self._store(answered)
            except FrameError as error:
                self.tally.settle(Outcome.REJECTED, error.reason)
                self._complain(error.reason, str(error))
            except Exception as error:  # One frame must not end the thread.
                self.tally.settle(Outcome.DROPPED, 'intake_error')
                self._complain('intake_error', explained(error))

    def _store(self, answered: Answered) -> None:
        frame = self._builder.build(answered.pair).frame
        estimates = [] if answered.answer is None else [from_pose_message(pose) for pose in answered.answer.poses]
        session = self.session or self._open(frame, estimates)
        if session is None:
            self.tally.settle(Outcome.DROPPED, 'no_recording')
        elif session.judge(frame, answered.pair.skew, estimates) == 'camera_changed':
            self._complain('camera_changed', describe_change(session.card, frame))

    def _open(self, first: Frame, estimates: list[BodyEstimate]) -> RecordingSession | None:
        """Open the recording with the camera of its first frame; None, and a failure, where that is not possible."""
        try:
            card = card_of(self._config, first, estimates[0].weights_hash if estimates else '')
            self.session = RecordingSession(self._config.path(), card, self._config, self._resume, self.tally)
        except Exception as error:
            self._fail(explained(error))
        return self.session

    def _fail(self, text: str) -> None:
        self.failure = text
        self._complain('no_recording', text)


def describe_change(card: RecordingCard, frame: Frame) -> str:
    """Return what differs between the camera of a recording and that of a frame."""
    return (
        f'The frame is of {frame.frame_id} with {frame.intrinsics}, the recording of {card.frame_id} with '
        f'{card.intrinsics}. Set the camera back, or record to another folder.'
    )
