"""What is done to a network's gradients and buffers around a step, without taking it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from hwhup_core.errors import HwhupError
from hwhup_core.training.distributed import Ranks, global_sum


def trainable_parameters(network: nn.Module) -> list[nn.Parameter]:
    """Return the parameters to train; anything but float32 or float64 would make the optimiser's state coarse too."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if not parameters:
        raise HwhupError('The network has no parameter to train. Unfreeze some.')
    coarse = {str(parameter.dtype) for parameter in parameters} - {'torch.float32', 'torch.float64'}
    if coarse:
        found = ', '.join(sorted(coarse))
        raise HwhupError(f'The network has parameters of {found}, expected float32. Use autocast in the step instead.')
    return parameters


def gradient_norms(
    losses: Mapping[str, Tensor], parameters: Sequence[Tensor], ranks: Ranks | None = None
) -> dict[str, float]:
    """Return the norm of each loss's gradient, averaged over the ranks, and of their sum as `total`; graphs stay."""
    ranks = ranks or Ranks()
    total, norms = torch.zeros(()), {}
    for name, loss in losses.items():
        if loss.requires_grad:
            parts = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
        else:
            parts = tuple(torch.zeros_like(parameter) for parameter in parameters)
        gradient = global_sum(ranks, torch.cat([part.flatten().float() for part in parts])) / ranks.world
        total = total.to(gradient) + gradient
        norms[name] = gradient.norm().item()
    return {**norms, 'total': total.norm().item()}


@contextmanager
def unchanged(network: nn.Module) -> Iterator[None]:
    """Put modes and buffers (batch norm's statistics) back as they were when the block ends."""
    modes = {module: module.training for module in network.modules()}
    buffers = [buffer.clone() for buffer in network.buffers()]
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        restore_buffers(network, buffers)


@torch.no_grad()
def restore_buffers(network: nn.Module, buffers: Sequence[Tensor]) -> None:
    """Write the kept copies back into the network's buffers."""
    for buffer, kept in zip(network.buffers(), buffers, strict=True):
        buffer.copy_(kept)
