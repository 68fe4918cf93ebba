"""Adam on rows that do not know each other: a plain loop, and on CUDA one captured iteration that is replayed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Generic, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from hwhup_core.types import TensorRecord

I = TypeVar('I', bound=TensorRecord)  # noqa: E741

Energy = Callable[[Tensor, I], Tensor]
"""Variables (b, n) and inputs -> energies (b,); row i of the result depends on row i of the arguments only."""

WARM_UP = 3
"""Iterations before a capture, as CUDA graphs ask for."""


@dataclass(frozen=True)
class AdamSettings:
    """Of torch.optim.Adam."""

    learning_rate: float
    betas: tuple[float, float]


def minimise(
    energy: Energy[I], start: Float[Tensor, 'b n'], inputs: I, iterations: int, settings: AdamSettings
) -> Float[Tensor, 'b n']:
    """Return the variables after some iterations of Adam from `start`; runs anywhere, waits for Python each time."""
    variable = start.detach().clone().requires_grad_()
    optimizer = _adam(variable, settings)
    for _ in range(iterations):
        _iterate(energy, variable, inputs, optimizer)
    return variable.detach()


class CapturedMinimiser(Generic[I]):
    """The same on CUDA for one batch size: the kernels of one iteration are recorded once and replayed as a graph."""

    def __init__(self, energy: Energy[I], start: Float[Tensor, 'b n'], inputs: I, settings: AdamSettings) -> None:
        self._variable = start.detach().clone().requires_grad_()
        self._inputs = inputs.map(lambda tensor: tensor.detach().clone())
        self._optimizer = _adam(self._variable, settings)
        stream = torch.cuda.Stream(start.device)
        stream.wait_stream(torch.cuda.current_stream(start.device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                _iterate(energy, self._variable, self._inputs, self._optimizer)
        torch.cuda.current_stream(start.device).wait_stream(stream)
        self._variable.grad = None  # The captured iteration makes its own, in the graph's memory.
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(start.device), torch.cuda.graph(self._graph):
            _iterate(energy, self._variable, self._inputs, self._optimizer)

    def __call__(self, start: Float[Tensor, 'b n'], inputs: I, iterations: int) -> Float[Tensor, 'b n']:
        """Return the variables after some iterations of Adam from `start`, its memory of earlier runs cleared."""
        with torch.no_grad():
            self._variable.copy_(start)
            _copy_into(self._inputs, inputs)
            for state in self._optimizer.state.values():
                for tensor in state.values():
                    tensor.zero_()
        for _ in range(iterations):
            self._graph.replay()
        return self._variable.detach().clone()


def _copy_into(target: TensorRecord, source: TensorRecord) -> None:
    """Overwrite the tensors of a record, and of the records in it, where they lie."""
    for field in fields(target):
        old, new = getattr(target, field.name), getattr(source, field.name)
        if isinstance(old, TensorRecord):
            _copy_into(old, new)
        else:
            old.copy_(new)


def _adam(variable: Tensor, settings: AdamSettings) -> torch.optim.Adam:
    return torch.optim.Adam([variable], lr=settings.learning_rate, betas=settings.betas, capturable=variable.is_cuda)


def _iterate(energy: Energy[I], variable: Tensor, inputs: I, optimizer: torch.optim.Adam) -> None:
    # The sum keeps the rows apart: the gradient of each energy reaches its own row only.
    (variable.grad,) = torch.autograd.grad(energy(variable, inputs).sum(), variable)
    optimizer.step()
