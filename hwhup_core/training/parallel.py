"""One task a process, in order: how pools are made of many subjects."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from tqdm import tqdm

T = TypeVar('T')
R = TypeVar('R')


def in_parallel(make: Callable[[T], R], tasks: Sequence[T], what: str, workers: int | None = None) -> list[R]:
    """
    Return what is made of each task, in order, whatever the number of processes: by default one a core.

    With one worker nothing is started. `make`, tasks and results travel between processes, so they have to pickle.
    """
    workers = min(len(tasks), workers or os.cpu_count() or 1)
    if workers <= 1:
        return list(tqdm(map(make, tasks), total=len(tasks), unit='subject', desc=what))
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context('spawn')) as executor:
        return list(tqdm(executor.map(make, tasks), total=len(tasks), unit='subject', desc=what))
