"""
The node that records a camera, and what the pose node says of it, into a folder on this computer.

Callbacks only pair messages; one thread decodes and judges, others encode and write. No frame is superseded by a newer
one: those that come too fast wait in bounded queues, and one too many is dropped and counted.
"""

from __future__ import annotations

import math
import sys
import time
import traceback
from collections.abc import Callable, Sequence

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.context import Context
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_srvs.srv import Trigger

from hwhup_core.data.recording_writer import require_free_folder
from hwhup_core.errors import ConfigError, HwhupError
from hwhup_core.recording.tally import Counts, Tally
from hwhup_ros.camera_input import CameraInput
from hwhup_ros.conversions import make_header
from hwhup_ros.diagnostics import Ledger, to_diagnostics
from hwhup_ros.estimate_wait import EstimateWait
from hwhup_ros.frame_builder import DEPTH, IMAGE
from hwhup_ros.msg import RecorderStatus, SmplPoseArray
from hwhup_ros.parameters import declare_config
from hwhup_ros.recorder_config import RecorderNodeConfig
from hwhup_ros.recorder_health import History, Moment, health_of, state_of, to_status
from hwhup_ros.recorder_intake import Intake
from hwhup_ros.spinning import run
from hwhup_ros.synchronizer import Pair, Streams

LOG_PERIOD = 5.0
"""Seconds between two log lines about the same reason."""
WATCH_PERIOD = 0.05
"""Seconds between two looks at frames that wait for an answer, and at the state."""
STATUS_PERIOD = 1.0
QUEUE_DEPTH = 30
"""Images of a stream that the middleware keeps for us: a second at 30 Hz."""


class RecorderNode(LifecycleNode):
    """
    Subscribes `image`, `depth`, `camera_info` and, to know the person, `smpl_poses`; writes a recording.

    Configure checks the folder, activate subscribes, deactivate stores what is in work and closes the recording;
    activated again, it goes on with it. Services `~/pause` and `~/resume` (Trigger); `~/status` (latched) and
    `/diagnostics` say what is done. With `autostart` the constructor does both transitions and raises HwhupError when
    a parameter is wrong.
    """

    def __init__(
        self,
        *,
        parameter_overrides: Sequence[Parameter] = (),
        context: Context | None = None,
        namespace: str | None = None,
        node_name: str = 'recorder_node',
    ) -> None:
        super().__init__(
            node_name,
            context=context,
            namespace=namespace,
            parameter_overrides=list(parameter_overrides),
            automatically_declare_parameters_from_overrides=True,
        )
        self._ledger = Ledger()
        self._input: CameraInput | None = None
        self._intake: Intake | None = None
        self._last_intake: Intake | None = None
        self._start_error: HwhupError | None = None
        self._last_state = -1
        self._last_pair_at = time.monotonic()
        self._answers_expected = False
        self._last_error = ''
        self._last_logged: dict[str, float] = {}
        self._history = History()
        try:
            self.config = declare_config(self, RecorderNodeConfig())
            self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', QoSProfile(depth=10))
            latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
            self._status = self.create_publisher(RecorderStatus, '~/status', latched)
            self._pause_services = [
                self.create_service(Trigger, '~/pause', lambda _, response: self._pause(True, response)),
                self.create_service(Trigger, '~/resume', lambda _, response: self._pause(False, response)),
            ]
            self._status_timer = self.create_timer(STATUS_PERIOD, self._publish_all, clock=steady())
            self._watch_timer = self.create_timer(WATCH_PERIOD, self._watch, clock=steady())
            if self.config.autostart:
                self._start()
        except HwhupError:
            self.destroy_node()
            raise

    @property
    def counts(self) -> Counts:
        """Return what became of the frames since the node was activated last."""
        intake = self._intake or self._last_intake
        return (Tally() if intake is None else intake.tally).counts()

    def _start(self) -> None:
        for transition in (self.trigger_configure, self.trigger_activate):
            if transition() != TransitionCallbackReturn.SUCCESS:
                raise self._start_error or HwhupError('The recorder could not start; see the log above.')

    # Lifecycle.

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Check that a recording can begin in the folder."""
        return super().on_configure(state) if self._attempt(self._configure) else TransitionCallbackReturn.FAILURE

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and start to record."""
        return super().on_activate(state) if self._attempt(self._activate) else TransitionCallbackReturn.FAILURE

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe, store what is in work and close the recording."""
        self._stop()
        return super().on_deactivate(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Close the recording."""
        self._stop()
        return super().on_shutdown(state)

    def destroy_node(self) -> None:
        """Close the recording before the node goes."""
        self._stop()
        super().destroy_node()

    def _attempt(self, step: Callable[[], None]) -> bool:
        """Do one step of a transition; what goes wrong is logged and kept for whoever made the node."""
        try:
            step()
        except HwhupError as error:
            self._start_error = error
            self.get_logger().fatal(str(error))
        except Exception as error:  # rclpy would swallow it without a word.
            self._start_error = HwhupError(f'Cannot start: {type(error).__name__}: {error}')
            self.get_logger().fatal(traceback.format_exc())
        else:
            return True
        return False

    def _configure(self) -> None:
        folder = self.config.path()
        require_free_folder(folder, self._goes_on)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f'Cannot record to {folder}: {error.strerror}. Give a folder we may write to.') from error
        self.get_logger().info(f'Recording to {folder}, privacy {self.config.privacy}.')

    @property
    def _goes_on(self) -> bool:
        """Whether a recording in the folder is continued: a node that is activated again continues its own."""
        return self.config.resume or self._last_intake is not None

    def _activate(self) -> None:
        config = self.config
        names = [name for name, used in ((IMAGE, config.color_is_used), (DEPTH, config.use_depth)) if used]
        self._streams = streams = Streams(names[0], names[1] if len(names) > 1 else None)
        self._history = History()
        self._intake = Intake(config, streams, self._goes_on, self._complain).start()
        self._wait = EstimateWait(config.estimate_wait)
        self._poses = None
        if config.estimate_wait > 0:
            self._poses = self.create_subscription(SmplPoseArray, 'smpl_poses', self._on_poses, QoSProfile(depth=50))
        self._last_pair_at = time.monotonic()
        self._input = CameraInput(self, config, streams, self._ledger, self._on_pair, QUEUE_DEPTH)
        self._look_for_answers()

    def _stop(self) -> None:
        if self._input is None or self._intake is None:
            return
        self._input.close()
        if self._poses is not None:
            self.destroy_subscription(self._poses)
        for answered in self._wait.flush():
            self._intake.submit(answered)
        if not self._intake.stop():
            self.get_logger().error('What was in work could not be written in time; it is left behind.')
        self._last_intake, self._intake, self._input = self._intake, None, None
        if self.context.ok():
            self._publish_all()

    # Input, in the executor's thread.

    def _on_pair(self, pair: Pair) -> None:
        self._last_pair_at = time.monotonic()
        self._intake.tally.arrive()
        for name in self._streams.names:
            self._ledger.answered(name)
        self._wait.add_pair(pair, self._last_pair_at)
        self._hand_on()

    def _on_poses(self, message: SmplPoseArray) -> None:
        self._wait.add_answer(message)
        self._hand_on()

    def _hand_on(self) -> None:
        expected = self._answers_expected and not self._intake.paused
        for answered in self._wait.ready(time.monotonic(), self._input.info, expected):
            self._intake.submit(answered)

    def _pause(self, paused: bool, response: Trigger.Response) -> Trigger.Response:
        response.success = self._intake is not None
        response.message = ('paused' if paused else 'recording') if response.success else 'The recorder is not active.'
        if self._intake is not None:
            self._intake.paused = paused
            self._hand_on()
            self._last_pair_at = time.monotonic()
            self._publish_all()
        return response

    # Watching.

    def _watch(self) -> None:
        """Let no frame wait too long, and tell a change of state at once."""
        if self._intake is not None:
            self._hand_on()
        if state_of(self._intake) != self._last_state:
            self._publish_all()

    def _look_for_answers(self) -> None:
        self._answers_expected = self._poses is not None and self.count_publishers(self._poses.topic_name) > 0

    def _publish_all(self) -> None:
        """Publish status and diagnostics."""
        if self._intake is not None:
            self._look_for_answers()
        moment = self._moment()
        self._last_state = moment.state
        header = make_header(self.get_clock().now().nanoseconds, '')
        self._status.publish(to_status(moment, self.config, header))
        name = self.get_fully_qualified_name().lstrip('/') + ': recording'
        self._diagnostics.publish(to_diagnostics(health_of(name, moment, self.config), 'camera', header))

    def status_message(self) -> RecorderStatus:
        """Return what was done so far, as on `~/status`."""
        return to_status(self._moment(), self.config, make_header(self.get_clock().now().nanoseconds, ''))

    def _moment(self) -> Moment:
        now = time.monotonic()
        intake = self._intake or self._last_intake
        session = None if intake is None or intake.session is None else intake.session.status()
        lost = sum(self._ledger.counts().lost.values())
        return Moment(
            state=state_of(self._intake),
            counts=(counts := self.counts),
            session=session,
            recent=self._history.add(counts, lost, now),
            trouble=self._trouble(now),
            last_error=self._last_error or ('' if session is None else session.last_error),
        )

    def _trouble(self, now: float) -> str:
        """Return why nothing is recorded; empty if all is well, or nothing shall be recorded."""
        intake = self._intake
        if intake is None or self._input is None:
            return ''
        if intake.failure or (intake.session is not None and intake.session.full):
            return intake.failure or intake.session.full
        if intake.paused or now - self._last_pair_at < self.config.silent_after:
            return ''
        return f'No frame for {now - self._last_pair_at:.1f} s: {self._input.explain_silence(now, self._last_error)}'

    def _complain(self, reason: str, text: str) -> None:
        """Log an error, the same reason at most once in LOG_PERIOD."""
        self._last_error = text.rstrip().rpartition('\n')[2]  # Of a traceback, what was raised.
        now = time.monotonic()
        if now - self._last_logged.get(reason, -math.inf) >= LOG_PERIOD:
            self._last_logged[reason] = now
            self.get_logger().error(f'Not recorded ({reason}): {text}')


def steady() -> Clock:
    """Return a clock that simulated time does not stop."""
    return Clock(clock_type=ClockType.STEADY_TIME)


def main(args: list[str] | None = None) -> int:
    """Run the recorder."""
    return run(RecorderNode, args)


if __name__ == '__main__':
    sys.exit(main())
