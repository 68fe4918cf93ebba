"""A 1280x720 colour and depth camera at 30 Hz that costs next to nothing: a few rendered frames, over and over."""

from __future__ import annotations

import itertools
import sys
import time

import rclpy
from rclpy.node import Node

from hwhup_core.synthetic.stream import CribStream, StreamConfig
from hwhup_ros.camera_publisher import CameraPublisher
from hwhup_ros.spinning import RclError

FRAMES = 6
RATE_HZ = 30.0


def main(seconds: float) -> None:
    """Publish for so long after somebody listens."""
    rclpy.init()
    node = Node('camera', namespace='crib')
    stream = CribStream(StreamConfig(width=1280, height=720, focal_px=1120.0), seed=0)
    frames = [stream.frame(0, index / RATE_HZ)[0] for index in range(FRAMES)]
    camera = CameraPublisher(node)
    while not camera.subscribers_settled():
        time.sleep(0.05)
    begin = time.monotonic()
    for index, frame in enumerate(itertools.cycle(frames)):
        due = begin + index / RATE_HZ
        if due - begin > seconds:
            break
        time.sleep(max(0.0, due - time.monotonic()))
        try:
            camera.publish(frame, time.time_ns())
        except RclError:  # Told to stop in mid-publish.
            break
    node.destroy_node()
    rclpy.try_shutdown()


if __name__ == '__main__':
    main(float(sys.argv[1]))
