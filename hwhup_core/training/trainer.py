"""The training loop: epochs, learning rate, validation, resuming. It knows losses and batches, and nothing of SMPL."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from hwhup_core.errors import HwhupError
from hwhup_core.training.config import TrainConfig
from hwhup_core.training.losses import LossTerms, total_loss
from hwhup_core.training.pool import Batch, BatchLoader

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EpochReport:
    """What one epoch did."""

    epoch: int
    terms: dict[str, float]
    """Mean of each loss term."""
    held_out_error: float
    """Mean joint error on held-out samples, metres."""


def learning_rate_at(progress: float, config: TrainConfig) -> float:
    """Return the one-cycle rate at `progress` in [0, 1]: a linear rise, then a cosine fall to 1 % of the peak."""
    if progress < config.warm_up:
        return config.learning_rate * max(progress / config.warm_up, 0.01)
    fall = (progress - config.warm_up) / (1 - config.warm_up)
    return config.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * fall)) / 2)


def fit(
    network: nn.Module,
    loader: BatchLoader,
    step: Callable[[nn.Module, Batch], LossTerms],
    validate: Callable[[nn.Module], float],
    config: TrainConfig,
    run: Path,
) -> list[EpochReport]:
    """
    Train the network in place and return one report an epoch; a run folder with a state in it is continued.

    Batches are functions of seed and epoch, and the learning rate of the step, so a continued run needs only the
    weights, the optimiser and the number of finished epochs. Raises `HwhupError` when the loss stops being a number.
    """
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    state_file = run / 'state.pt'
    first, reports = _resume(state_file, network, optimizer, config)
    bar = tqdm(total=config.epochs * len(loader), initial=first * len(loader), unit='step', desc='train')
    for epoch in range(first, config.epochs):
        network.train()
        sums: dict[str, float] = {}
        for index, batch in enumerate(loader.epoch(epoch)):
            progress = (epoch * len(loader) + index) / (config.epochs * len(loader))
            for group in optimizer.param_groups:
                group['lr'] = learning_rate_at(progress, config)
            terms = step(network, batch)
            _descend(optimizer, terms, config, f'epoch {epoch}, step {index}')
            for name, value in vars(terms).items():
                sums[name] = sums.get(name, 0.0) + value.item() / len(loader)
            bar.update()
        reports.append(EpochReport(epoch, sums, validate(network)))
        bar.set_postfix_str(f'held-out {reports[-1].held_out_error * 1000:.1f} mm')
        logger.info('epoch %d: %s held-out %.1f mm', epoch, sums, reports[-1].held_out_error * 1000)
        _save_state(state_file, network, optimizer, epoch + 1, reports, config)
    bar.close()
    return reports


def _descend(optimizer: torch.optim.Optimizer, terms: LossTerms, config: TrainConfig, where: str) -> None:
    loss = total_loss(terms, config.weights)
    if not torch.isfinite(loss):
        values = {name: value.item() for name, value in vars(terms).items()}
        raise HwhupError(f'The loss is not a number at {where}: {values}. Lower learning_rate or look at the samples.')
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    parameters = [parameter for group in optimizer.param_groups for parameter in group['params']]
    nn.utils.clip_grad_norm_(parameters, config.clip_norm)
    optimizer.step()


def _resume(
    state_file: Path, network: nn.Module, optimizer: torch.optim.Optimizer, config: TrainConfig
) -> tuple[int, list[EpochReport]]:
    if not state_file.exists():
        return 0, []
    state = torch.load(state_file, weights_only=True)
    if state['config'] != repr(config):
        raise HwhupError(
            f'{state_file} belongs to another configuration. Expected {config!r}, found {state["config"]}. '
            'Choose another --out folder or remove this one.'
        )
    network.load_state_dict(state['network'])
    optimizer.load_state_dict(state['optimizer'])
    reports = [EpochReport(**entry) for entry in state['reports']]
    logger.info('continue %s after %d epochs', state_file, state['epochs'])
    return int(state['epochs']), reports


def _save_state(
    state_file: Path,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    epochs: int,
    reports: list[EpochReport],
    config: TrainConfig,
) -> None:
    """Write the state atomically, so that a kill costs one epoch at most."""
    state_file.parent.mkdir(parents=True, exist_ok=True)
    partial = state_file.with_suffix('.partial')
    torch.save(
        {
            'network': network.state_dict(),
            'optimizer': optimizer.state_dict(),
            'epochs': epochs,
            'reports': [vars(report) for report in reports],
            'config': repr(config),
        },
        partial,
    )
    os.replace(partial, state_file)
