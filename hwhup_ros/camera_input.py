"""What a node subscribes of a camera: what comes in, what belongs together, and in plain words why nothing comes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, Protocol

from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_policy_name_from_kind
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from hwhup_ros import diagnostics
from hwhup_ros.conversions import to_ns
from hwhup_ros.diagnostics import Ledger, Meter, explain_silence
from hwhup_ros.frame_builder import DEPTH, IMAGE
from hwhup_ros.synchronizer import Pair, Streams, SyncConfig, Synchronizer

CAMERA_INFO = 'camera_info'
COMPRESSED_TOPICS = {IMAGE: 'image/compressed', DEPTH: 'depth/compressedDepth'}
QUEUE_DEPTH = 5
"""
Callbacks only sort, so this queue is almost always empty and costs no latency: the pose node's one-slot mailbox behind
them drops old frames. With depth 1 the middleware would drop some of them itself, uncounted.
"""
REMEDIES = {
    'zero_stamp': 'stamp 0, expected the time of exposure: let the driver stamp its images',
    'backward_stamp': 'not later than the one before: let one camera publish here, and in order',
    'future_stamp': 'ahead of the clock of this node: synchronise the clocks, or set use_sim_time or sync.max_future',
    'duplicate_stamp': 'the stamp of the one before: let the driver stamp every image',
    'unpaired': 'no partner within sync.slop: synchronise the streams, or raise sync.slop or sync.buffer',
}
"""What a drop by the synchroniser means and what to do; other reasons come with an error that says so."""
OPTIONAL_PATIENCE = 0.1
"""Seconds a required image waits for an optional partner when nothing else comes."""


class InputConfig(Protocol):
    """What a node's parameters say about its camera."""

    @property
    def image_transport(self) -> str:
        """Return `raw` or `compressed`."""

    @property
    def image_reliability(self) -> str:
        """Return `best_effort` or `reliable`."""

    @property
    def sync(self) -> SyncConfig:
        """Return how images are paired."""


class CameraInput:
    """
    Subscribes the camera's topics while it lives and calls `on_pair` with the newest complete pair.

    Every image is counted in `ledger`, and so is every one that will never be part of a pair. Call `release`
    and `close` in the thread of the executor.
    """

    def __init__(
        self,
        node: Node,
        config: InputConfig,
        streams: Streams,
        ledger: Ledger,
        on_pair: Callable[[Pair], None],
        queue_depth: int = QUEUE_DEPTH,
    ) -> None:
        self.enabled = True
        self._queue_depth = queue_depth
        self.qos_complaints: dict[str, str] = {}
        self._node = node
        self._config = config
        self._streams = streams
        self._ledger = ledger
        self._on_pair = on_pair
        self._last_primary_at = -math.inf
        self._sync = Synchronizer(config.sync, streams, ledger.dropped)
        self._meters = {name: Meter() for name in (*streams.names, CAMERA_INFO)}
        self._subscriptions: dict[str, Subscription] = {}
        try:
            self._subscribe_all()
        except BaseException:
            self.close()
            raise

    @property
    def resets(self) -> int:
        """Return how often the stamps jumped back, as when a bag starts again."""
        return self._sync.resets

    @property
    def info(self) -> CameraInfo | None:
        """Return the newest camera info, None before the first."""
        return self._sync.info

    def close(self) -> None:
        """Unsubscribe; what still waits counts as dropped."""
        for subscription in self._subscriptions.values():
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()
        self._sync.clear('deactivated')

    def change_streams(self, streams: Streams) -> None:
        """Give the streams other roles; with the same topics no image is lost, else it subscribes anew."""
        if set(streams.names) == set(self._streams.names):
            sync = Synchronizer(self._config.sync, streams, self._ledger.dropped)
            sync.take_over(self._sync)
            self._streams, self._sync = streams, sync
            return
        self.close()
        self._streams = streams
        self._sync = Synchronizer(self._config.sync, streams, self._ledger.dropped)
        self._meters = {name: self._meters.get(name, Meter()) for name in (*streams.names, CAMERA_INFO)}
        self._subscribe_all()

    def release(self) -> None:
        """Hand out an image that has waited long enough for an optional partner; call it now and then."""
        if time.monotonic() - self._last_primary_at > OPTIONAL_PATIENCE:
            self._hand_out(self._sync.release())

    def rates(self, now: float) -> dict[str, float]:
        """Return messages a second for each topic."""
        return {name: meter.rate(now) for name, meter in self._meters.items()}

    def _subscribe_all(self) -> None:
        compressed = self._config.image_transport == 'compressed'
        for stream in self._streams.names:
            topic = COMPRESSED_TOPICS[stream] if compressed else stream
            self._subscribe(stream, CompressedImage if compressed else Image, topic)
        self._subscribe(CAMERA_INFO, CameraInfo, CAMERA_INFO)

    def _subscribe(self, stream: str, message_type: type, topic: str) -> None:
        reliable = self._config.image_reliability == 'reliable'

        def take(message: Any) -> None:
            self._take(stream, message)

        def subscribe(events: SubscriptionEventCallbacks | None) -> Subscription:
            # A fresh profile each time: rclpy writes QoS overrides into the object it is given.
            policy = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
            qos = QoSProfile(depth=self._queue_depth, reliability=policy)
            return self._node.create_subscription(message_type, topic, take, qos, event_callbacks=events)

        events = SubscriptionEventCallbacks(
            incompatible_qos=lambda event: self._on_incompatible_qos(stream, event),
            message_lost=lambda event: self._ledger.lost(stream, event.total_count_change),
        )
        try:
            self._subscriptions[stream] = subscribe(events)
        except UnsupportedEventTypeError:  # Not every middleware reports these events.
            self._subscriptions[stream] = subscribe(None)

    def _take(self, stream: str, message: Any) -> None:
        """Count a message and hand out the pair that it completes."""
        now = time.monotonic()
        self._meters[stream].add(0.0, now)
        if stream == CAMERA_INFO:
            self._hand_out(self._sync.add_info(message))
            return
        self._ledger.received(stream)
        if not self.enabled:
            self._ledger.dropped(stream, 'disabled')
            return
        if stream == self._streams.primary:
            self._last_primary_at = now
        clock_ns = self._node.get_clock().now().nanoseconds
        self._hand_out(self._sync.add_image(stream, to_ns(message.header.stamp), message, clock_ns))

    def _hand_out(self, pair: Pair | None) -> None:
        if pair is not None:
            self._on_pair(pair)

    def _on_incompatible_qos(self, stream: str, event: Any) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        topic = self._subscriptions[stream].topic_name if stream in self._subscriptions else stream
        text = f'A publisher of {topic} offers incompatible QoS ({policy}): nothing will come from it.'
        self.qos_complaints[stream] = text
        self._node.get_logger().warn(
            f'{text} Set image_reliability to best_effort, or change the QoS of the camera driver.'
        )

    def explain_silence(self, now: float, last_error: str) -> str:
        """Return why no pair comes: which topics are silent, or why what arrives cannot be used."""
        needed = [self._streams.primary, CAMERA_INFO]
        if self._streams.secondary is not None and self._streams.secondary_required:
            needed.insert(1, self._streams.secondary)
        silent = [stream for stream in needed if self._meters[stream].rate(now) == 0.0]
        if silent:
            return ' '.join(self._explain_topic(stream) for stream in silent)
        return f'all topics arrive, but no image can be used: {self._explain_drops(last_error)}'

    def _explain_topic(self, stream: str) -> str:
        subscription = self._subscriptions[stream]
        message_type = subscription.msg_type
        publishers = [
            diagnostics.Publisher(
                node=f'{found.node_namespace.rstrip("/")}/{found.node_name}',
                topic_type=found.topic_type,
                reliable=found.qos_profile.reliability == ReliabilityPolicy.RELIABLE,
            )
            for found in self._node.get_publishers_info_by_topic(subscription.topic_name)
        ]
        return explain_silence(
            subscription.topic_name,
            f'{message_type.__module__.split(".")[0]}/msg/{message_type.__name__}',
            self._config.image_reliability == 'reliable',
            publishers,
        )

    def _explain_drops(self, last_error: str) -> str:
        primary = self._streams.primary
        drops = self._ledger.counts().dropped.get(primary, {})
        parts = [
            f'{count} of {primary} dropped as {reason}' + (f' ({REMEDIES[reason]})' if reason in REMEDIES else '')
            for reason, count in drops.items()
        ]
        skew = self._sync.newest_skew
        if not math.isnan(skew) and abs(skew) > self._config.sync.slop:
            parts.append(
                f'stamps of image and depth are {1000 * skew:.0f} ms apart, sync.slop is {self._config.sync.slop} s'
            )
        if last_error:
            parts.append(f'last error: {last_error}')
        return '; '.join(parts) or 'no reason known.'
