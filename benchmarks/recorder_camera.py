"""A 640x480 colour and depth camera that costs next to nothing: a few rendered frames with noise, over and over."""

from __future__ import annotations

import argparse
import itertools
import time
from dataclasses import replace

import numpy as np
import rclpy
from rclpy.node import Node

from hwhup_core.synthetic.stream import CribStream, StreamConfig
from hwhup_core.types import Frame
from hwhup_ros.camera_publisher import CameraPublisher
from hwhup_ros.spinning import RclError

FRAMES = 8
DEPTH_NOISE_M, COLOR_NOISE = 0.002, 3.0
"""As much as a RealSense has: pictures without noise compress too well."""


def main() -> None:
    """Publish after somebody listens, and print how many frames were published."""
    parser = argparse.ArgumentParser()
    parser.add_argument('seconds', type=float)
    parser.add_argument('--rate', type=float, default=30.0)
    parser.add_argument('--size', type=int, nargs=2, default=(640, 480))
    given = parser.parse_args()
    rclpy.init()
    node = Node('camera', namespace='crib')
    frames = noisy_frames(*given.size)
    camera = CameraPublisher(node)
    while not camera.subscribers_settled():
        time.sleep(0.05)
    print(publish(camera, frames, given.rate, given.seconds), flush=True)
    time.sleep(1.0)
    node.destroy_node()
    rclpy.try_shutdown()


def noisy_frames(width: int, height: int) -> list[Frame]:
    """Return frames of the synthetic crib as a real sensor would see them."""
    stream = CribStream(StreamConfig(width=width, height=height), seed=0)
    rng = np.random.default_rng(0)
    frames = []
    for number in range(FRAMES):
        frame, _ = stream.frame(number, number / 3)
        assert frame.color is not None
        assert frame.depth is not None
        color = frame.color + rng.normal(0, COLOR_NOISE, frame.color.shape)
        depth = np.where(frame.depth > 0, frame.depth + rng.normal(0, DEPTH_NOISE_M, frame.depth.shape), 0)
        depth[rng.random(depth.shape) < 0.02] = 0
        frames.append(replace(frame, color=np.clip(color, 0, 255).astype(np.uint8), depth=depth.astype(np.float32)))
    return frames


def publish(camera: CameraPublisher, frames: list[Frame], rate_hz: float, seconds: float) -> int:
    """Publish by the clock and return how many frames."""
    begin = time.monotonic()
    for index, frame in enumerate(itertools.cycle(frames)):
        due = begin + index / rate_hz
        if due - begin > seconds:
            return index
        time.sleep(max(0.0, due - time.monotonic()))
        try:
            camera.publish(frame, time.time_ns())
        except RclError:  # Told to stop in mid-publish.
            return index
    return 0


if __name__ == '__main__':
    main()
