"""`hwhup synth`: people of a domain, written in SLP's layout, their truth in another folder."""

from __future__ import annotations

import argparse
import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import torch
from tqdm import tqdm

from hwhup_core.body.model import BodyModel, load_body
from hwhup_core.errors import ConfigError, HwhupError
from hwhup_core.networks.card import running_commit
from hwhup_core.synthetic.domain import Cover, DomainConfig
from hwhup_core.synthetic.slp_layout import (
    DomainCard,
    is_done,
    open_domain,
    subject_folder,
    truth_file,
    write_physique,
    write_subject,
)
from hwhup_core.synthetic.subjects import subject_poses
from hwhup_core.training.parallel import watch_parent


@dataclass(frozen=True)
class SynthRequest:
    """What `hwhup synth` is asked for."""

    out: Path
    """Folder that will hold danaLab."""
    truth: Path
    """Folder for the truth."""
    config: DomainConfig
    subjects: int
    seed: int
    workers: int

    def __post_init__(self) -> None:
        if self.subjects < 1 or self.workers < 1 or self.seed < 0:
            raise ConfigError(
                f'--subjects {self.subjects}, --workers {self.workers}, --seed {self.seed}. Expected at least 1, 1, 0.'
            )
        if self.subjects > 99999:
            raise ConfigError(f'--subjects is {self.subjects}. The layout numbers folders with 5 digits.')
        out, truth = self.out.resolve(), self.truth.resolve()
        if truth == out or out in truth.parents or truth in out.parents:
            raise ConfigError(f'The truth {truth} must lie apart from the data {out}. Choose another --truth.')


def request_from(given: argparse.Namespace) -> SynthRequest:
    """Return the request of parsed arguments."""
    config = DomainConfig(
        kind=given.kind,
        body=given.body or ('infant' if given.kind == 'crib' else 'adult'),
        poses=given.poses,
        prone=given.prone,
        size=given.size,
        modalities=tuple(dict.fromkeys(given.modalities)),
        covers=tuple(cover for cover in Cover if cover.value in given.covers),
        sensor=given.sensor,
        label_noise=given.label_noise,
        wrong_visibility=given.wrong_visibility,
    )
    truth = given.truth or given.out.with_name(f'{given.out.name}-truth')
    return SynthRequest(given.out, truth, config, given.subjects, given.seed, given.workers)


def synth(request: SynthRequest) -> int:
    """Make the subjects that are not there yet; a run that was stopped goes on with whole subjects."""
    body = load_body(request.config.body)
    open_domain(request.out, DomainCard(request.config, request.seed, body.hash, running_commit()))
    tasks = [n for n in range(1, request.subjects + 1) if not is_done(request.out, request.truth, n)]
    frames = request.config.poses * len(request.config.covers)
    done = request.subjects - len(tasks)
    bar = tqdm(total=request.subjects * frames, initial=done * frames, unit='frame', disable=None)
    with bar:
        for _ in _made(request, body, tasks):
            bar.update(frames)
    write_physique(request.out)
    print(f'wrote {len(tasks)} subjects ({done} were there) to {request.out}, their truth to {request.truth}')
    return 0


def _made(request: SynthRequest, body: BodyModel, tasks: list[int]) -> Iterator[int]:
    """Yield the subjects as they are finished."""
    workers = min(request.workers, len(tasks))
    if workers <= 1:
        yield from (_write_one(request, body, subject) for subject in tasks)
        return
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker) as executor:
        jobs = [executor.submit(partial(_write_alone, request), subject) for subject in tasks]
        try:
            for job in as_completed(jobs):
                yield job.result()
        except BrokenProcessPool as error:
            raise HwhupError(
                'A worker was killed, perhaps for want of memory. Run the same command again, it goes on; with fewer '
                '--workers.'
            ) from error
        finally:
            executor.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    """Take one core, leave Ctrl-C to the parent, and do not outlive it: two runs must not write one subject."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    watch_parent()


def _write_alone(request: SynthRequest, subject: int) -> int:
    """Write a subject in a process that has no body yet."""
    return _write_one(request, _body(request.config.body), subject)


@cache
def _body(name: str) -> BodyModel:
    return load_body(name)


def _write_one(request: SynthRequest, body: BodyModel, subject: int) -> int:
    """Write a subject and return its number."""
    poses = subject_poses(request.config, body, request.seed, subject)
    folder, truth = subject_folder(request.out, subject), truth_file(request.truth, subject)
    try:
        write_subject(folder, truth, poses, request.config, body)
    except OSError as error:
        raise HwhupError(
            f'Cannot write subject {subject} to {folder}: {error.strerror}. Make room or choose another folder, and '
            'run the same command again: it goes on.'
        ) from error
    return subject
