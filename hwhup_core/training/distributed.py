"""
Training with several processes on PyTorch's own engine: who they are, what they tell each other, one batch norm.

Start them with `torchrun`; NCCL on GPUs, gloo on CPUs. Without it there is one process and nothing here does anything.
Every rank sees its share of the same global batches, and the result is that of one process with the whole batch.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from hwhup_core.errors import ConfigError, HwhupError

T = TypeVar('T')

PATIENCE = timedelta(hours=2)
"""How long a rank waits for the others: the first one validates and writes alone."""


@dataclass(frozen=True)
class Ranks:
    """One process among those that train together."""

    rank: int = 0
    world: int = 1
    """How many there are."""

    @property
    def first(self) -> bool:
        """Whether this is the one that validates and writes."""
        return self.rank == 0


def init_from_environment() -> Ranks:
    """Join the processes that `torchrun` started (RANK, WORLD_SIZE, LOCAL_RANK); alone where it did not start us."""
    world = int(os.environ.get('WORLD_SIZE', '1'))
    if world > 1 and not distributed.is_initialized():
        device = local_device()
        if device.type == 'cuda':
            torch.cuda.set_device(device)
        # What the ranks tell each other beside gradients lies on the CPU.
        backend = 'cpu:gloo,cuda:nccl' if device.type == 'cuda' else 'gloo'
        distributed.init_process_group(backend, timeout=PATIENCE)
    return current_ranks()


def current_ranks() -> Ranks:
    """Return which process this is; the only one unless a process group was joined."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return Ranks()
    return Ranks(distributed.get_rank(), distributed.get_world_size())


def local_device() -> torch.device:
    """Return this process's own GPU, or the CPU where there is none."""
    if not torch.cuda.is_available():
        return torch.device('cpu')
    return torch.device('cuda', int(os.environ.get('LOCAL_RANK', '0')))


def share_of(size: int, rank: int, world: int) -> slice:
    """Return which of `size` samples of a global batch belong to a rank; shares differ by one sample at most."""
    if size < world:
        raise ConfigError(f'A batch of {size} samples cannot be shared by {world} processes. Raise the batch size.')
    return slice(size * rank // world, size * (rank + 1) // world)


def on_first(ranks: Ranks, function: Callable[[], T]) -> T:
    """Return on every rank what `function` returns on the first; its HwhupError is raised on every rank."""
    if ranks.world == 1:
        return function()
    answer: list[Any] = [None]
    if ranks.first:
        try:
            answer = [(function(), None)]
        except HwhupError as error:
            answer = [(None, str(error))]
    distributed.broadcast_object_list(answer, src=0)
    value, problem = answer[0]
    if problem is not None:
        raise HwhupError(problem)
    return value  # type: ignore[no-any-return]


def gathered(ranks: Ranks, value: T) -> list[T]:
    """Return every rank's value (plain, with tensors), in the order of the ranks; tensors arrive on the CPU."""
    if ranks.world == 1:
        return [value]
    values: list[Any] = [None] * ranks.world
    distributed.all_gather_object(values, _on_cpu(value))
    return values


def _on_cpu(value: Any) -> Any:
    """Return nested plain values with every tensor on the CPU."""
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, dict):
        return {key: _on_cpu(item) for key, item in value.items()}
    return type(value)(map(_on_cpu, value)) if isinstance(value, (list, tuple)) else value


def global_sum(ranks: Ranks, values: Float[Tensor, '*n']) -> Float[Tensor, '*n']:
    """Return the sum over the ranks, without gradient."""
    total = values.detach().clone()
    if ranks.world > 1:
        distributed.all_reduce(total)
    return total


def gradient_scales(ranks: Ranks, counts: Float[Tensor, ' k']) -> Float[Tensor, ' k']:
    """
    Return what each rank's means are multiplied by, so that averaged gradients are those of the means over all ranks.

    The mean over the global batch is sum_r n_r mean_r / N; averaging divides by the world, hence n_r world / N.
    """
    if ranks.world == 1:
        return torch.ones_like(counts)
    return counts * ranks.world / global_sum(ranks, counts).clamp(min=torch.finfo(counts.dtype).tiny)


def parallel(network: nn.Module, ranks: Ranks) -> nn.Module:
    """Return the network with gradients averaged over the ranks; all ranks start with what the first one has."""
    if ranks.world == 1:
        return network
    # Once is enough: batch norm over the global batch leaves the same buffers everywhere.
    for buffer in network.buffers():
        distributed.broadcast(buffer, src=0)
    with warnings.catch_warnings():  # A later torch gave the option another name, which earlier ones do not know.
        warnings.simplefilter('ignore', FutureWarning)
        return DistributedDataParallel(network, broadcast_buffers=False)


class _AllReduce(torch.autograd.Function):
    """Sum over the ranks, and so is its gradient."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        distributed.all_reduce(total)
        return total


def differentiable_sum(values: Float[Tensor, '*n']) -> Float[Tensor, '*n']:
    """Return the sum over the ranks; the gradient is that of the sum of all ranks' losses."""
    total: Tensor = _AllReduce.apply(values)
    return total


class GlobalBatchNorm(_BatchNorm):
    """Batch norm over all ranks' samples, on any device: `nn.SyncBatchNorm` exists on GPUs only."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise HwhupError(f'Batch norm got a tensor of shape {tuple(input.shape)}; expected samples x channels.')

    def forward(self, input: Float[Tensor, 'b c *n']) -> Float[Tensor, 'b c *n']:
        """Normalise by mean and variance of the global batch while training, by the running ones otherwise."""
        if not self.training or self.running_mean is None:
            return super().forward(input)
        over = [0, *range(2, input.dim())]
        shape = [1, -1] + [1] * (input.dim() - 2)
        values = input.float()
        sums = torch.cat([values.sum(over), values.new_tensor([values.numel() / values.shape[1]])])
        total = differentiable_sum(sums)
        count = total[-1].detach()
        mean = total[:-1] / count
        centred = values - mean.view(shape)
        variance = differentiable_sum(centred.square().sum(over)) / count
        self._remember(mean.detach(), variance.detach() * count / (count - 1))
        scaled = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            scaled = scaled * self.weight.view(shape) + self.bias.view(shape)
        return scaled.to(input.dtype)

    def _remember(self, mean: Float[Tensor, ' c'], variance: Float[Tensor, ' c']) -> None:
        """Move the running statistics, in place, since the module that this one stands for shares them."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        factor = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, factor)
        self.running_var.lerp_(variance, factor)


@contextmanager
def synchronised_batch_norm(network: nn.Module, ranks: Ranks) -> Iterator[None]:
    """
    Let the network's batch norms see the global batch inside the block; afterwards its own modules are back.

    Stand-ins share parameters and buffers with the modules they replace, so that optimisers and the names in the state
    dict stay valid throughout.
    """
    replaced = _replace_batch_norms(network) if ranks.world > 1 else []
    try:
        yield
    finally:
        for parent, name, original in replaced:
            original.train(getattr(parent, name).training)
            setattr(parent, name, original)


def _replace_batch_norms(network: nn.Module) -> list[tuple[nn.Module, str, _BatchNorm]]:
    """Put stand-ins into the network and return where they are and what they stand for."""
    stand_ins: dict[_BatchNorm, nn.Module] = {}
    replaced = []
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, _BatchNorm):
                stand_in = stand_ins.setdefault(child, _stand_in(child))
                setattr(parent, name, stand_in)
                replaced.append((parent, name, child))
    return replaced


def _stand_in(module: _BatchNorm) -> nn.Module:
    on_gpu = module.running_mean is not None and module.running_mean.is_cuda
    kind = nn.SyncBatchNorm if on_gpu else GlobalBatchNorm
    new = kind(module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats)
    for name, parameter in module.named_parameters(recurse=False):
        setattr(new, name, parameter)
    for name, buffer in module.named_buffers(recurse=False):
        setattr(new, name, buffer)
    return new.train(module.training)
