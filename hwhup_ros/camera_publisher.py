"""The three topics of an RGB-D camera, as the replay and the synthetic camera publish them."""

from __future__ import annotations

import time

from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image

from hwhup_core.types import Frame
from hwhup_ros import conversions, images

SETTLE_S = 0.5
"""No new subscriber for this long means that discovery is over."""


class CameraPublisher:
    """Publishes frames on `image`, `depth` (unless the camera has none) and `camera_info`, all with the same header."""

    def __init__(self, node: Node, has_depth: bool = True) -> None:
        self._image = node.create_publisher(Image, 'image', QoSProfile(depth=5))
        self._depth = node.create_publisher(Image, 'depth', QoSProfile(depth=5)) if has_depth else None
        self._info = node.create_publisher(CameraInfo, 'camera_info', QoSProfile(depth=5))
        self.depth_is_on = True
        """Whether depth is published; a depth camera can be taken away while everything runs."""
        self._listeners = (0, 0, 0)
        self._since = time.monotonic()

    def subscribers_settled(self) -> bool:
        """Return whether somebody listens and no new listener came for a moment; ask again and again."""
        publishers = (self._image, self._depth, self._info)
        image, depth, info = (0 if one is None else one.get_subscription_count() for one in publishers)
        if (image, depth, info) != self._listeners:
            self._listeners, self._since = (image, depth, info), time.monotonic()
        return info > 0 and image + depth > 0 and time.monotonic() - self._since >= SETTLE_S

    def publish(self, frame: Frame, stamp_ns: int) -> None:
        """Publish the frame as taken at `stamp_ns`: camera info first, so that nobody has an image without it."""
        header = conversions.make_header(stamp_ns, frame.frame_id)
        if frame.intrinsics is not None:
            self._info.publish(conversions.from_intrinsics(frame.intrinsics, header))
        if frame.color is not None:
            self._image.publish(images.from_array(frame.color, 'rgb8', header))
        if frame.depth is not None and self._depth is not None and self.depth_is_on:
            millimetres = images.depth_pixels(frame.depth, '16UC1')
            self._depth.publish(images.from_array(millimetres, '16UC1', header))
