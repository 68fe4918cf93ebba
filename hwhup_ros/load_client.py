"""Asking a running pose node to take other weights."""

from __future__ import annotations

import rclpy

from hwhup_core.errors import HwhupError
from hwhup_ros.srv import LoadModel

FIND_S, LOAD_S = 10.0, 120.0
"""How long to look for the node, and to wait for its answer, seconds."""


def load_model(node: str, weights: str) -> str:
    """Return what the pose node `node` (such as /crib/pose_node) says; raises HwhupError where it keeps its weights."""
    service = f'{node.rstrip("/")}/load_model'
    context = rclpy.Context()
    rclpy.init(context=context)
    asking = rclpy.create_node('hwhup_load_client', context=context)
    executor = rclpy.executors.SingleThreadedExecutor(context=context)
    try:
        executor.add_node(asking)
        client = asking.create_client(LoadModel, service)
        if not client.wait_for_service(FIND_S):
            raise HwhupError(f'Nobody offers {service}. Is the pose node running, and does it have this name?')
        future = client.call_async(LoadModel.Request(weights=weights))
        executor.spin_until_future_complete(future, LOAD_S)
        if not future.done():
            raise HwhupError(f'{service} did not answer within {LOAD_S:.0f} s. See the log of the node.')
        answer = future.result()
        if not answer.success:
            raise HwhupError(f'{node} keeps its weights: {answer.message}')
        return str(answer.message)
    finally:
        executor.shutdown()
        asking.destroy_node()
        context.try_shutdown()
