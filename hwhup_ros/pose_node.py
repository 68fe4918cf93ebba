"""
The node that turns camera messages into SMPL poses.

Callbacks only pair messages; one worker thread decodes, estimates and publishes, always from the newest pair. A bad
frame is dropped, counted by reason and logged now and then; it never ends the node.
"""

from __future__ import annotations

import math
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.context import Context
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import PointCloud2
from std_srvs.srv import SetBool

from hwhup_core.errors import FrameError, HwhupError
from hwhup_core.inference.drift import Drift
from hwhup_core.types import Frame, State
from hwhup_ros.camera_input import CameraInput
from hwhup_ros.conversions import SECOND_NS, make_header, to_body_model_info, to_ns, to_pose_array
from hwhup_ros.diagnostics import Counts, Health, Ledger, count_values, explained, to_diagnostics
from hwhup_ros.live_model import EngineLike, LiveModel, ModelSlot, build, live_model, load
from hwhup_ros.load_service import LoadService
from hwhup_ros.mailbox import Worker
from hwhup_ros.msg import BodyModelInfo, SmplPoseArray
from hwhup_ros.parameters import declare_config
from hwhup_ros.point_cloud import cloud_packer, point_cloud
from hwhup_ros.pose_config import PoseConfig
from hwhup_ros.pose_health import PoseMeters, model_values
from hwhup_ros.spinning import run
from hwhup_ros.synchronizer import Pair, Streams

LOG_PERIOD = 5.0
"""Seconds between two log lines about the same reason."""
WATCH_PERIOD = 0.1
"""Seconds between two looks at whether the estimate is stale."""


@dataclass(frozen=True)
class Job:
    """A pair on its way to the worker, with the model for which it was paired."""

    pair: Pair
    model: LiveModel


class PoseNode(LifecycleNode):
    """
    Subscribes `image`, `depth`, `camera_info`; publishes `smpl_poses`, `body_model` (latched), `points`, diagnostics.

    Configure loads weights and body, activate subscribes, deactivate stops the worker, cleanup frees the engine. The
    service `~/enable` (SetBool) pauses the work, `~/load_model` replaces the weights while frames go on. With
    `autostart` the constructor does both transitions and raises HwhupError when a parameter or asset is wrong.
    `counters` tells what became of every image.
    """

    def __init__(
        self,
        *,
        parameter_overrides: Sequence[Parameter] = (),
        engine: EngineLike | None = None,
        context: Context | None = None,
        namespace: str | None = None,
        node_name: str = 'pose_node',
    ) -> None:
        """Make the node; `engine` replaces the one that the parameters describe (for tests and for sharing)."""
        super().__init__(
            node_name,
            context=context,
            namespace=namespace,
            parameter_overrides=list(parameter_overrides),
            automatically_declare_parameters_from_overrides=True,
        )
        self._given_engine = engine
        self._slot = ModelSlot()
        self._open: dict[int, Job] = {}
        self._worker: Worker[Job] | None = None
        self._input: CameraInput | None = None
        self._load_service: LoadService | None = None
        self._start_error: HwhupError | None = None
        self._ledger = Ledger()
        self._meters = PoseMeters()
        self._enabled = True
        self._forget = threading.Event()
        self._seen_resets = 0
        self._state_lock = threading.Lock()
        self._last_answer: SmplPoseArray | None = None
        self._last_answer_at = self._last_stale_at = time.monotonic()
        self._last_error = ''
        self._last_logged: dict[str, float] = {}
        try:
            self.config = declare_config(self, PoseConfig())
            self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', QoSProfile(depth=10))
            self._diagnostics_timer = self.create_timer(1.0, self._publish_diagnostics, clock=steady())
            self._enable_service = self.create_service(SetBool, '~/enable', self._on_enable)
            self._load_service = LoadService(self, self._slot, self._load, self._is_done_with, self._change_streams)
            if self.config.autostart:
                self._start()
        except HwhupError:
            self.destroy_node()
            raise

    @property
    def counters(self) -> Counts:
        """Return what became of the images since the node was made."""
        return self._ledger.counts()

    @property
    def active(self) -> bool:
        """Return whether the node listens to the camera."""
        return self._worker is not None

    def _start(self) -> None:
        for transition in (self.trigger_configure, self.trigger_activate):
            if transition() != TransitionCallbackReturn.SUCCESS:
                raise self._start_error or HwhupError('The pose node could not start; see the log above.')

    # Lifecycle.

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load weights and body, make the publishers, send the latched body model."""
        return super().on_configure(state) if self._attempt(self._configure) else TransitionCallbackReturn.FAILURE

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
        engine = self._given_engine or build(self.config)
        model = live_model(engine, self.config)
        self._pack = cloud_packer(self.config.points_backend)
        self._poses = self.create_publisher(SmplPoseArray, 'smpl_poses', QoSProfile(depth=5))
        self._points = self.create_publisher(PointCloud2, 'points', QoSProfile(depth=1))
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._body_model = self.create_publisher(BodyModelInfo, 'body_model', latched)
        body = engine.body
        header = make_header(self._now_ns(), '')
        self._body_model.publish(to_body_model_info(body, np.asarray(body.rest_joints), header))
        self._slot.put(model)
        self.get_logger().info(f'Body {body.body_id}; the weights need {", ".join(sorted(model.modalities))}.')

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and start the worker."""
        return super().on_activate(state) if self._attempt(self._activate) else TransitionCallbackReturn.FAILURE

    def _activate(self) -> None:
        self._input = CameraInput(self, self.config, self._slot.current.streams, self._ledger, self._on_pair)
        self._input.enabled = self._enabled
        self._worker = Worker(self._answer, self._on_error, self._on_superseded, name='pose_worker').start()
        self._seen_resets = 0
        self._last_answer_at = self._last_stale_at = time.monotonic()
        self._watch_timer = self.create_timer(WATCH_PERIOD, self._watch, clock=steady())

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and finish the frame in work."""
        self._stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the engine and the publishers."""
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and free everything."""
        self._stop()
        self._release()
        return super().on_shutdown(state)

    def destroy_node(self) -> None:
        """Stop the worker before the publishers go."""
        self._stop()
        if self._load_service is not None:
            self._load_service.close()
        super().destroy_node()

    def _stop(self) -> None:
        if self._input is None or self._worker is None:
            return
        self.destroy_timer(self._watch_timer)
        self._input.close()
        if not self._worker.stop():
            self.get_logger().error('The worker did not finish its frame within 10 s; it is left behind.')
        self._input = self._worker = None

    def _release(self) -> None:
        if self._slot.current is None:
            return
        self._slot.put(None)
        self._last_answer = None
        for publisher in (self._poses, self._points, self._body_model):
            self.destroy_publisher(publisher)

    # Input, in the executor's thread.

    def _on_pair(self, pair: Pair) -> None:
        self._meters.skew.add(pair.skew, time.monotonic())
        job = Job(pair, self._slot.current)
        self._open[id(job)] = job
        if self._worker is not None:
            self._worker.submit(job)
        else:
            self._drop_job(job, 'deactivated')

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._enabled = request.data
        if self._input is not None:
            self._input.enabled = request.data
        self._last_answer_at = time.monotonic()
        self._forget.set()
        response.success, response.message = True, 'enabled' if request.data else 'disabled'
        return response

    # Other weights, see `LoadService`.

    def _load(self, weights: str, present: LiveModel) -> LiveModel:
        return load(weights, self.config, present)

    def _is_done_with(self, model: LiveModel) -> bool:
        return all(job.model is not model for job in tuple(self._open.values()))

    def _change_streams(self, streams: Streams) -> None:
        if self._input is not None:
            self._input.change_streams(streams)

    # Work, in the worker thread.

    def _answer(self, job: Job) -> None:
        """Estimate and publish one pair."""
        model = self._slot.model_for(job.model)
        self._forget_if_asked(model)
        pair = job.pair
        built = model.builder.build(pair)
        estimates = self._slot.estimate(model, built.frame, self._on_rollback)
        header = pair.primary.item.header
        message = to_pose_array(estimates, header, built.size, self._age(header.stamp))
        if not self.context.ok():
            self._drop_job(job, 'shutdown')
            return
        with self._state_lock:
            self._poses.publish(message)
            self._last_answer, self._last_answer_at = message, time.monotonic()
        self._count_answer(job, built.refused)
        self._measure(message, model)
        self._attempt_extra('points', lambda: self._publish_points(built.frame, header))

    def _forget_if_asked(self, model: LiveModel) -> None:
        resets = 0 if self._input is None else self._input.resets
        if self._forget.is_set() or resets != self._seen_resets:
            self._forget.clear()
            self._seen_resets = resets
            model.engine.reset()

    def _count_answer(self, job: Job, refused: FrameError | None) -> None:
        self._open.pop(id(job), None)
        streams = job.model.streams
        self._ledger.answered(streams.primary)
        if job.pair.secondary is None:
            return
        if refused is None:
            self._ledger.answered(streams.secondary)
        else:
            self._ledger.dropped(streams.secondary, refused.reason)
            self._complain(refused.reason, str(refused))

    def _measure(self, message: SmplPoseArray, model: LiveModel) -> None:
        now = time.monotonic()
        self._meters.latency.add(message.poses[0].latency if message.poses else self._age(message.header.stamp), now)
        for pose in message.poses:
            self._meters.depth_error.add(pose.aligned_depth_error, now)
            model.alarm.add(pose.aligned_depth_error, now)

    def _publish_points(self, frame: Frame, header: Any) -> None:
        stride = self.config.points_stride
        if frame.depth is None or frame.intrinsics is None or not stride or not self._points.get_subscription_count():
            return
        self._points.publish(point_cloud(frame.depth, frame.color, frame.intrinsics, header, stride, self._pack))

    def _on_error(self, job: Job, error: Exception) -> None:
        """Count a frame that failed and publish that it has no poses; nothing that one frame does may end the node."""
        if not self.context.ok():
            self._drop_job(job, 'shutdown')
            return
        reason = error.reason if isinstance(error, FrameError) else 'engine_error'
        self._drop_job(job, reason)
        self._complain(reason, explained(error))
        header = job.pair.primary.item.header
        self._attempt_extra('refusal', lambda: self._poses.publish(SmplPoseArray(header=header)))

    def _attempt_extra(self, what: str, publish: Callable[[], None]) -> None:
        """Publish what comes after a frame was counted; a failure is logged and leaves the count as it is."""
        try:
            publish()
        except Exception as error:
            if self.context.ok():
                self._complain(what, explained(error), 'Not published')

    def _on_rollback(self, error: Exception) -> None:
        self._complain('rolled_back', explained(error), 'The new weights failed, the ones before are back')

    def _on_superseded(self, job: Job) -> None:
        self._drop_job(job, 'superseded')

    def _drop_job(self, job: Job, reason: str) -> None:
        self._open.pop(id(job), None)
        streams = job.model.streams
        self._ledger.dropped(streams.primary, reason)
        if job.pair.secondary is not None:
            self._ledger.dropped(streams.secondary, reason)

    def _complain(self, reason: str, text: str, what: str = 'Frame dropped') -> None:
        """Log an error, the same reason at most once in LOG_PERIOD."""
        self._last_error = text.rstrip().rpartition('\n')[2]  # Of a traceback, what was raised.
        now = time.monotonic()
        if now - self._last_logged.get(reason, -math.inf) >= LOG_PERIOD:
            self._last_logged[reason] = now
            self.get_logger().error(f'{what} ({reason}): {text}')

    # Watching.

    def _watch(self) -> None:
        """Say that the estimate is stale, once a stale time."""
        self._input.release()
        now = time.monotonic()
        since = max(self._last_answer_at, self._last_stale_at)
        if not self._enabled or now - since < self.config.stale_after:
            return
        self._last_stale_at = now
        self._forget.set()
        self.get_logger().warn(self._explain_stale(now), throttle_duration_sec=LOG_PERIOD)
        with self._state_lock:
            if self._last_answer is not None and now - self._last_answer_at >= self.config.stale_after:
                self._poses.publish(self._as_stale(self._last_answer))

    def _as_stale(self, message: SmplPoseArray) -> SmplPoseArray:
        """Turn the last answer, which is ours alone now, into a stale one."""
        for pose in message.poses:
            pose.state = int(State.STALE)
            pose.latency = self._age(message.header.stamp)
        return message

    def _is_stale(self, now: float) -> bool:
        return self.active and self._enabled and now - self._last_answer_at >= self.config.stale_after

    def _explain_stale(self, now: float) -> str:
        why = '' if self._input is None else self._input.explain_silence(now, self._last_error)
        return f'No pose for {now - self._last_answer_at:.1f} s: {why}'

    def _publish_diagnostics(self) -> None:
        now = time.monotonic()
        health = Health(self.get_fully_qualified_name().lstrip('/') + ': poses', *self._level(now), self._values(now))
        self._diagnostics.publish(to_diagnostics(health, 'camera', make_header(self._now_ns(), '')))

    def _level(self, now: float) -> tuple[bytes, str]:
        if not self.active:
            return DiagnosticStatus.WARN, 'not active'
        if not self._enabled:
            return DiagnosticStatus.WARN, 'disabled by ~/enable'
        if self._is_stale(now):
            return DiagnosticStatus.ERROR, self._explain_stale(now)
        if self._input.qos_complaints:
            return DiagnosticStatus.WARN, ' '.join(self._input.qos_complaints.values())
        alarm = self._slot.current.alarm
        if alarm.state(now) is Drift.RAISED:
            return DiagnosticStatus.WARN, alarm.explain(now)
        return DiagnosticStatus.OK, 'estimating'

    def _values(self, now: float) -> dict[str, object]:
        rates = {} if self._input is None else self._input.rates(now)
        return {
            **{f'{name} rate [Hz]': rate for name, rate in rates.items()},
            **self._meters.values(now),
            **count_values(self.counters),
            'last error': self._last_error,
            **model_values(self._slot.current, now),
            'device': self.config.engine.device,
        }

    def _now_ns(self) -> int:
        return self.get_clock().now().nanoseconds

    def _age(self, stamp: Time) -> float:
        return (self._now_ns() - to_ns(stamp)) / SECOND_NS


def steady() -> Clock:
    """Return a clock that simulated time does not stop."""
    return Clock(clock_type=ClockType.STEADY_TIME)


def main(args: list[str] | None = None) -> int:
    """Run the node."""
    return run(PoseNode, args)
