"""
The training loop: epochs, learning rate, validation, resuming. It knows terms and batches, and nothing of SMPL.

What an epoch does is a function of seed and epoch, so that a run that continues needs weights, optimiser and the number
of finished epochs, and is the same bit for bit on a CPU.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from tqdm import tqdm

from hwhup_core.config_io import to_plain
from hwhup_core.errors import ConfigError, HwhupError
from hwhup_core.training.distributed import (
    Ranks,
    current_ranks,
    gathered,
    global_sum,
    gradient_scales,
    on_first,
    parallel,
    synchronised_batch_norm,
)
from hwhup_core.training.gradients import gradient_norms, restore_buffers, trainable_parameters, unchanged
from hwhup_core.training.logbook import EpochReport, Logbook, write_report
from hwhup_core.training.run_state import plain_fingerprint, read_state, write_state
from hwhup_core.types import TensorRecord

logger = logging.getLogger(__name__)

B = TypeVar('B', bound=TensorRecord)


@dataclass(frozen=True)
class Term:
    """One term of the loss over one batch."""

    value: Float[Tensor, '']
    """Mean over `count` things, unweighted; 0 where there is none."""
    weight: float
    """What it counts in this epoch; 0: logged, not in the loss."""
    count: Float[Tensor, '']
    """How many things the mean is over, so that several processes average exactly as one would."""


Step = Callable[[nn.Module, B, int], dict[str, Term]]
"""Network, batch, epoch -> terms. The same names in every step of an epoch, on every rank; autocast is its business."""


@runtime_checkable
class Batches(Protocol[B]):
    """Where the batches come from."""

    def __len__(self) -> int:
        """Return the number of steps in an epoch."""

    def epoch(self, epoch: int, rank: int, world: int) -> Iterator[B]:
        """Yield one rank's share of each of the epoch's global batches, which are the same for any `world`."""

    def names(self, batch: B) -> list[str]:
        """Return what to call each sample of the batch in an error."""


@runtime_checkable
class Stateful(Protocol):
    """
    Something that a step writes to, saved and restored with every checkpoint: plain values and tensors.

    One that also has `merge_ranks(states: list[dict])` is handed the state of every rank, on the CPU, at the start and
    after each epoch, and has to hold the same on all ranks afterwards.
    """

    def state_dict(self) -> dict[str, Any]:
        """Return what to keep."""

    def load_state_dict(self, state: dict[str, Any], /) -> Any:
        """Take back what was kept."""


@dataclass(frozen=True)
class LoopConfig:
    """How the loop descends; AdamW throughout, which without decay is Adam."""

    epochs: int = 40
    """Passes over the batches."""
    learning_rate: float = 1e-3
    """Peak."""
    schedule: Literal['one_cycle', 'constant'] = 'one_cycle'
    """After the rise: a cosine fall to 1 % of the peak, or the peak to the end."""
    warm_up: float = 0.1
    """Share of all steps in which the rate rises linearly, in either schedule; 0: none."""
    weight_decay: float = 1e-4
    """Of AdamW."""
    clip_norm: float = 1.0
    """Largest norm of the gradient; 0: not clipped."""
    gradient_every: int = 1
    """Epochs between logs of each term's gradient norm; 0: never."""
    seed: int = 0
    """Of what is random in the network (dropout), with the epoch and the rank."""

    def __post_init__(self) -> None:
        if self.epochs < 0 or self.learning_rate <= 0 or not 0 <= self.warm_up < 1:
            raise ConfigError('epochs must be at least 0, learning_rate above 0, warm_up in [0, 1).')
        if min(self.weight_decay, self.clip_norm, self.gradient_every, self.seed) < 0:
            raise ConfigError('weight_decay, clip_norm, gradient_every and seed must be at least 0.')


@dataclass(frozen=True)
class _Run(Generic[B]):
    """What every epoch of a run needs."""

    network: nn.Module
    model: nn.Module
    """The network as steps see it: with several processes, the one that averages gradients."""
    batches: Batches[B]
    step: Step[B]
    optimizer: torch.optim.Optimizer
    config: LoopConfig
    stateful: Mapping[str, Stateful]
    ranks: Ranks
    device: torch.device


def run_loop(
    network: nn.Module,
    batches: Batches[B],
    step: Step[B],
    validate: Callable[[nn.Module], dict[str, float]],
    config: LoopConfig,
    run: Path,
    fingerprint: str,
    stateful: Mapping[str, Stateful] | None = None,
    stop_after: Callable[[EpochReport], bool] | None = None,
) -> list[EpochReport]:
    """
    Train the network in place and return one report an epoch; a run folder with a state in it is continued.

    `validate` gets the network in eval mode, on the first rank only. `fingerprint` says what else this run depends on,
    best as JSON; a folder with another fingerprint or configuration is refused. `stop_after` may end the run early;
    calling again without it continues. Raises `HwhupError` when loss or gradient stop being numbers: the weights are
    then as they were before that step, and the offending frames are named.
    """
    ranks, stateful, parameters = current_ranks(), stateful or {}, trainable_parameters(network)
    steps = len(batches)
    if steps < 1:
        raise HwhupError('There is no batch to train on: fewer samples than one batch holds. Lower the batch size.')
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
    configuration = {'loop': to_plain(config), 'run': plain_fingerprint(fingerprint)}
    reports = _resume(run, configuration, network, optimizer, stateful, ranks)
    _merge(stateful, ranks)  # What was made before the run, too, has to be the same everywhere.
    first = len(reports)
    with ExitStack() as stack:
        stack.enter_context(synchronised_batch_norm(network, ranks))
        model = parallel(network, ranks)
        loop = _Run(network, model, batches, step, optimizer, config, stateful, ranks, parameters[0].device)
        books: list[Logbook] = []  # One, on the first rank.
        on_first(ranks, lambda: books.append(stack.enter_context(Logbook(run, first))))
        bar = stack.enter_context(
            tqdm(total=config.epochs * steps, initial=first * steps, unit='step', desc='train', disable=not ranks.first)
        )

        def finish(report: EpochReport) -> tuple[EpochReport, bool]:
            report = replace(report, validation=validate(network))
            write_state(run, configuration, _state_of(loop, [*reports, report]))
            books[0].record(report)
            return report, stop_after is not None and stop_after(report)

        stop = False
        while len(reports) < config.epochs and not stop:
            trained = _train_epoch(loop, len(reports), bar)
            report, stop = on_first(ranks, partial(finish, trained))
            reports.append(report)
            bar.set_postfix_str(', '.join(f'{name} {value:.4g}' for name, value in report.validation.items()))
            logger.info('epoch %d: terms %s, validation %s', report.epoch, report.terms, report.validation)
    on_first(ranks, lambda: write_report(run, configuration, reports))
    return reports


def learning_rate_at(progress: float, config: LoopConfig) -> float:
    """Return the rate at `progress` in [0, 1] of the run: a linear rise, then what the schedule says."""
    if progress < config.warm_up:
        return config.learning_rate * max(progress / config.warm_up, 0.01)
    if config.schedule == 'constant':
        return config.learning_rate
    fall = (progress - config.warm_up) / (1 - config.warm_up)
    return config.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * fall)) / 2)


def _train_epoch(run: _Run[B], epoch: int, bar: tqdm[Any]) -> EpochReport:
    """Take the epoch's steps and return its report, not yet validated; the network is in eval mode then."""
    config, ranks, steps = run.config, run.ranks, len(run.batches)
    torch.manual_seed(int(np.random.SeedSequence((config.seed, epoch, ranks.rank)).generate_state(1)[0]))
    run.model.train()
    means, samples, start, rate = _RunningMeans(), 0, time.perf_counter(), 0.0
    norms: dict[str, float] = {}
    terms: dict[str, Term] = {}
    taken = 0
    for index, batch in enumerate(run.batches.epoch(epoch, ranks.rank, ranks.world)):
        rate = learning_rate_at((epoch * steps + index) / (config.epochs * steps), config)
        for group in run.optimizer.param_groups:
            group['lr'] = rate
        wanted = index == 0 and config.gradient_every > 0 and epoch % config.gradient_every == 0
        terms, found = _train_step(run, batch.to(run.device), epoch, index, wanted)
        norms = found or norms
        means.add(terms)
        samples += batch_length(batch)
        taken += 1
        bar.update()
    if taken != steps:
        kind = type(run.batches).__name__
        raise HwhupError(f'Epoch {epoch} of {kind} had {taken} batches, expected {steps}, which is its length.')
    seconds = time.perf_counter() - start
    _merge(run.stateful, ranks)
    run.network.eval()
    seen = int(global_sum(ranks, torch.tensor(float(samples), dtype=torch.float64, device=run.device)).item())
    return EpochReport(
        epoch=epoch,
        terms=means.over(ranks),
        weights={name: float(term.weight) for name, term in terms.items()},
        gradient_norms=norms,
        validation={},
        learning_rate=rate,
        seconds=seconds,
        samples=seen,
    )


def _train_step(
    run: _Run[B], batch: B, epoch: int, index: int, norms_wanted: bool
) -> tuple[dict[str, Term], dict[str, float]]:
    """Descend once and return the terms and, where wanted, their gradient norms."""
    buffers = [buffer.clone() for buffer in run.network.buffers()]
    terms = run.step(run.model, batch, epoch)
    weighted, loss = _weighted(run, terms, epoch)
    parameters = trainable_parameters(run.network)
    norms = gradient_norms(weighted, parameters, run.ranks) if norms_wanted else {}
    run.optimizer.zero_grad(set_to_none=True)
    total: Any = sum(weighted.values(), _anchor(run))
    total.backward()
    norm = nn.utils.clip_grad_norm_(parameters, run.config.clip_norm or math.inf)
    # One question for both, since every answer waits for the GPU.
    if not bool(torch.stack([loss, norm.to(loss)]).isfinite().all()):
        run.optimizer.zero_grad(set_to_none=True)
        restore_buffers(run.network, buffers)
        raise _not_a_number(run, batch, terms, epoch, index)
    run.optimizer.step()
    return terms, norms


def _anchor(run: _Run[B]) -> Tensor | float:
    """
    Return a 0 that all parameters lead to: averaging waits for each, whether this rank's terms use it or not.

    Weights that no term uses get a gradient of 0 by this and so decay, which in one process they do not.
    """
    if run.ranks.world == 1:
        return 0.0
    return torch.stack([parameter.flatten()[0] for parameter in trainable_parameters(run.network)]).sum() * 0.0


def _weighted(run: _Run[B], terms: Mapping[str, Term], epoch: int) -> tuple[dict[str, Tensor], Float[Tensor, '']]:
    """Return what to descend on this rank, by term, and the loss over all ranks, without gradient."""
    counting = {name: term for name, term in terms.items() if term.weight != 0}
    if not any(term.value.requires_grad for term in counting.values()):
        found = ', '.join(f'{name} (weight {term.weight})' for name, term in terms.items()) or 'no term at all'
        raise HwhupError(f'Nothing to descend in epoch {epoch}: {found}. At least one weighted term needs a gradient.')
    parts = list(counting.values())
    if run.ranks.world == 1:
        weighted = {name: term.weight * term.value for name, term in counting.items()}
        return weighted, torch.stack([value.detach() for value in weighted.values()]).sum()
    scales = gradient_scales(run.ranks, torch.stack([term.count for term in parts]).float())
    weighted = {name: scale * term.weight * term.value for (name, term), scale in zip(counting.items(), scales)}
    loss = torch.stack([value.detach() for value in weighted.values()]).sum()
    return weighted, global_sum(run.ranks, loss) / run.ranks.world


class _RunningMeans:
    """Means of the terms over an epoch, kept on the device so that no step waits for them."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def add(self, terms: Mapping[str, Term]) -> None:
        """Count one batch."""
        for name, term in terms.items():
            count = term.count.detach().double()
            pair = torch.stack([term.value.detach().double() * count, count])
            self._sums[name] = self._sums[name] + pair if name in self._sums else pair

    def over(self, ranks: Ranks) -> dict[str, float]:
        """Return the mean of each term over all batches of all ranks; 0 where nothing was counted."""
        totals = global_sum(ranks, torch.stack([self._sums[name] for name in sorted(self._sums)])).tolist()
        means = {name: total / count if count else 0.0 for name, (total, count) in zip(sorted(self._sums), totals)}
        return {name: means[name] for name in self._sums}


def _not_a_number(run: _Run[B], batch: B, terms: Mapping[str, Term], epoch: int, index: int) -> HwhupError:
    """Return the error that names terms and frames."""
    names = run.batches.names(batch)
    with unchanged(run.network):
        run.network.eval()
        # First without gradient; where every loss is a number, it is a gradient that is none.
        bad = [name for i, name in enumerate(names) if not _finite_alone(run, batch[i : i + 1], epoch, False)]
        everywhere = [name for part in gathered(run.ranks, bad) for name in part]
        if not everywhere:
            bad = [name for i, name in enumerate(names) if not _finite_alone(run, batch[i : i + 1], epoch, True)]
            everywhere = [name for part in gathered(run.ranks, bad) for name in part]
    if everywhere:
        more = f' and {len(everywhere) - 20} more' if everywhere[20:] else ''
        frames = f'Offending frames: {", ".join(everywhere[:20])}{more}. Look at these'
    else:
        frames = f'None of the {len(names)} frames does it alone (first: {", ".join(names[:3])}). Lower learning_rate'
    values = ', '.join(f'{name} {term.value.item():.4g} (weight {term.weight:g})' for name, term in terms.items())
    return HwhupError(
        f'The loss or its gradient is not a number at epoch {epoch}, step {index}: {values}. {frames}; the weights are '
        'as they were before this step, and the run continues from its last finished epoch.'
    )


def _finite_alone(run: _Run[B], sample: B, epoch: int, with_gradient: bool) -> bool:
    """Return whether the loss of one sample, or its gradient, is a number; a step that refuses it says no."""
    with torch.set_grad_enabled(with_gradient):
        try:
            terms = run.step(run.network, sample, epoch)
        except HwhupError:
            return False
        values = {name: term.weight * term.value for name, term in terms.items() if term.weight != 0}
        if not with_gradient:
            return all(bool(value.isfinite()) for value in values.values())
        norms = gradient_norms(values, trainable_parameters(run.network))
        return all(math.isfinite(norm) for norm in norms.values())


def batch_length(batch: TensorRecord) -> int:
    """Return the number of samples: the first axis of the first tensor."""
    for field in fields(batch):
        value = getattr(batch, field.name)
        if value is not None:
            return batch_length(value) if isinstance(value, TensorRecord) else len(value)
    raise HwhupError(f'A batch of type {type(batch).__name__} holds nothing.')


def _merge(stateful: Mapping[str, Stateful], ranks: Ranks) -> None:
    """Bring what the ranks wrote together, where the object knows how."""
    for thing in stateful.values():
        merge = getattr(thing, 'merge_ranks', None)
        if merge is not None and ranks.world > 1:
            merge(gathered(ranks, thing.state_dict()))


def _state_of(run: _Run[B], reports: Sequence[EpochReport]) -> dict[str, Any]:
    return {
        'network': run.network.state_dict(),
        'optimizer': run.optimizer.state_dict(),
        'stateful': {name: thing.state_dict() for name, thing in run.stateful.items()},
        'reports': [vars(report) for report in reports],
    }


def _resume(
    run: Path,
    configuration: Mapping[str, Any],
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    stateful: Mapping[str, Stateful],
    ranks: Ranks,
) -> list[EpochReport]:
    """Take back the state that the first rank finds in the run's folder, and return the reports of its epochs."""
    state = on_first(ranks, lambda: read_state(run, configuration))
    if state is None:
        return []
    if set(state['stateful']) != set(stateful):
        kept, given = (', '.join(sorted(names)) or 'nothing' for names in (state['stateful'], stateful))
        raise HwhupError(f'{run} keeps {kept} beside the network, this run has {given}. Choose another folder for it.')
    network.load_state_dict(state['network'])
    optimizer.load_state_dict(state['optimizer'])
    for name, thing in stateful.items():
        thing.load_state_dict(state['stateful'][name])
    reports = [EpochReport(**entry) for entry in state['reports']]
    logger.info('continue %s after %d epochs', run, len(reports))
    return reports
