"""The pose node on another process's camera; prints how old every frame was when work on it began."""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor

from hwhup_core.inference import EngineConfig, build_engine
from hwhup_core.types import BodyEstimate, Frame
from hwhup_ros.pose_node import PoseNode
from hwhup_ros.spinning import spin


class WatchedEngine:
    """An engine that notes the age of every frame it is given."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.body, self.loaded = engine.body, engine.loaded
        self.ages_s: list[float] = []

    def __call__(self, frame: Frame) -> list[BodyEstimate]:
        """Note the age, then estimate."""
        self.ages_s.append(time.time() - frame.stamp_ns / 1e9)
        return self._engine(frame)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


def main(weights: str, seconds: float) -> None:
    """Run until no frame came for `seconds`, at least; print the ages as JSON."""
    engine = WatchedEngine(build_engine(EngineConfig(weights=weights, threads=1)))
    rclpy.init()
    node = PoseNode(engine=engine, namespace='crib')
    executor = SingleThreadedExecutor()
    thread = threading.Thread(target=spin, args=([node], executor), daemon=True)
    thread.start()
    deadline = time.monotonic() + 60.0
    while not engine.ages_s and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(seconds)
    counts = node.counters
    executor.shutdown()
    thread.join(timeout=5.0)
    node.destroy_node()
    rclpy.try_shutdown()
    print(json.dumps({'ages_s': engine.ages_s, 'received': counts.received, 'dropped': counts.dropped}))


if __name__ == '__main__':
    main(sys.argv[1], float(sys.argv[2]))
