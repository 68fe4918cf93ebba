"""One task a process, in order: how pools are made of many subjects."""

from __future__ import annotations

import multiprocessing
import os
import threading
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
    with process_pool(workers) as executor:
        return list(tqdm(executor.map(make, tasks), total=len(tasks), unit='subject', desc=what))


def process_pool(workers: int) -> ProcessPoolExecutor:
    """Return a pool whose processes end with this one, even if it is killed: two runs must not write one folder."""
    return ProcessPoolExecutor(workers, multiprocessing.get_context('spawn'), initializer=watch_parent)


def watch_parent() -> None:
    """End this process when the one that started it ends."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
