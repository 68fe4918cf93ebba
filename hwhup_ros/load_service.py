"""The service that replaces the weights of a running pose node, without losing a frame."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node

from hwhup_core.errors import HwhupError
from hwhup_ros.live_model import LiveModel, Loader, ModelSlot, until
from hwhup_ros.srv import LoadModel
from hwhup_ros.synchronizer import Streams

LAST_ANSWERS_S = 5.0
"""How long to wait for the answers to what was paired for the old weights."""


class LoadService:
    """
    Offers `~/load_model`. The old weights answer until the new ones are loaded and passed their self-test.

    When the response says `success`, no later pose carries the old hash. Everything but the loading happens in the
    executor's thread, where pairs are made.
    """

    def __init__(
        self,
        node: Node,
        slot: ModelSlot,
        load: Callable[[str, LiveModel], LiveModel],
        is_done_with: Callable[[LiveModel], bool],
        change_streams: Callable[[Streams], None],
    ) -> None:
        """`is_done_with` says whether nothing is in work any more that was paired for a model."""
        self._node = node
        self._slot = slot
        self._loader = Loader(load)
        self._is_done_with = is_done_with
        self._change_streams = change_streams
        # In a group of its own: the others go on while this callback waits for the loading thread.
        group = MutuallyExclusiveCallbackGroup()
        self._service = node.create_service(LoadModel, '~/load_model', self._on_request, callback_group=group)

    def close(self) -> None:
        """Let the loading thread end."""
        self._loader.close()

    async def _on_request(self, request: LoadModel.Request, response: LoadModel.Response) -> LoadModel.Response:
        before = self._slot.current
        try:
            model = await self._replaced(request.weights, before)
        except HwhupError as error:
            response.success, response.message = False, str(error)
            response.weights_hash = '' if before is None else before.weights_hash
            self._node.get_logger().error(f'The weights stay as they are: {error}')
        else:
            response.success, response.weights_hash = True, model.weights_hash
            response.message = f'{request.weights} is in use, before it {before.weights_hash[:12]}'
            self._node.get_logger().info(f'{response.message}; the weights are {model.weights_hash[:12]}.')
        return response

    async def _replaced(self, weights: str, present: LiveModel | None) -> LiveModel:
        """Return the model that answers now; nothing has changed where it raises."""
        if present is None:
            raise HwhupError('The node is not configured, so there is nothing to replace. Configure it first.')
        model = await self._loader(weights, present)
        if self._slot.current is not present:
            raise HwhupError('The node was stopped, or took other weights meanwhile. Ask again.')
        self._slot.replace(model)
        if model.streams != present.streams:
            self._change_streams(model.streams)
        await until(lambda: self._is_done_with(present), timeout=LAST_ANSWERS_S)
        return model
