"""A look at what one training step would do, before hours are spent on many."""

from __future__ import annotations

import resource
import time
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import nn

from hwhup_core.training.gradients import gradient_norms, trainable_parameters, unchanged
from hwhup_core.training.loop import B, Batches, Stateful, Step, batch_length


@dataclass(frozen=True)
class DryRun:
    """What one step on a few frames would do."""

    terms: dict[str, float]
    """Unweighted."""
    weights: dict[str, float]
    """What each term counts; 0: not in the loss."""
    gradient_norms: dict[str, float]
    """Of each weighted term, and of their sum as `total`."""
    frames: int
    seconds: float
    """Of forward and backward."""
    memory_bytes: int
    """Peak: of the GPU during the step, or of this process so far."""


def dry_run(
    network: nn.Module,
    batches: Batches[B],
    step: Step[B],
    epoch: int = 0,
    frames: int = 8,
    stateful: Mapping[str, Stateful] | None = None,
) -> DryRun:
    """
    Return what one forward and backward pass on the first frames of an epoch does, and change nothing.

    What the step writes to has to be given in `stateful`, so that it can be put back.
    """
    device = trainable_parameters(network)[0].device
    batch = next(iter(batches.epoch(epoch, 0, 1))).to(device)[:frames]
    kept = {name: deepcopy(thing.state_dict()) for name, thing in (stateful or {}).items()}
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
    start = time.perf_counter()
    with unchanged(network), torch.random.fork_rng([device] if device.type == 'cuda' else []):
        network.train()
        try:
            terms = step(network, batch, epoch)
        finally:
            for name, thing in (stateful or {}).items():
                thing.load_state_dict(kept[name])
        weighted = {name: term.weight * term.value for name, term in terms.items() if term.weight != 0}
        norms = gradient_norms(weighted, trainable_parameters(network))
    return DryRun(
        terms={name: term.value.item() for name, term in terms.items()},
        weights={name: float(term.weight) for name, term in terms.items()},
        gradient_norms=norms,
        frames=batch_length(batch),
        seconds=time.perf_counter() - start,
        memory_bytes=_peak_memory(device),
    )


def _peak_memory(device: torch.device) -> int:
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
