"""Held-out pools of people that `hwhup synth` wrote: what was sensed from one folder, the truth from another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from hwhup_core.body.model import BodyModel
from hwhup_core.config_io import load_config
from hwhup_core.data.slp import SlpPose, SlpSet, read_slp
from hwhup_core.errors import AssetError, ConfigError, FrameError, HwhupError
from hwhup_core.synthetic.domain import Cover, PoseTruth, Sensed, SensedPose
from hwhup_core.synthetic.slp_layout import CARD, DomainCard, read_truth
from hwhup_core.training.domain_pools import TestPool, test_pool_of
from hwhup_core.training.observe import ObservationConfig
from hwhup_core.training.pools import join_pools


@dataclass(frozen=True)
class StoredPeople:
    """A folder of `hwhup synth` and the folder of its truth."""

    poses: SlpSet
    truth: Path
    card: DomainCard
    """How the people were made."""


def open_people(data: Path, truth: Path) -> StoredPeople:
    """Return the people in a folder; nothing but the card and the names of the subjects is read yet."""
    card = data / CARD
    if not card.is_file():
        raise AssetError(f'There is no {card}. Give a folder that `hwhup synth` wrote: only there truth is known.')
    return StoredPeople(read_slp(data), truth, load_config(card, DomainCard))


def stored_test_pool(people: StoredPeople, body: BodyModel, config: ObservationConfig) -> TestPool:
    """Return all frames with what they are scored against; the truth must be of this very body."""
    if people.card.body_hash != body.hash:
        raise ConfigError(
            f'The people in {people.poses.folder} are bodies {people.card.config.body!r} of hash '
            f'{people.card.body_hash[:12]}, not {body.body_id} ({body.hash[:12]}). Name that body, with weights for it.'
        )
    parts: list[TestPool] = []
    with tqdm(total=len(people.poses), unit='pose', desc='read', disable=None) as bar:
        for subject in people.poses.subjects:
            for pose, truth in zip(_poses(people.poses, subject), _truths(people, subject)):
                parts.append(_scored(pose, truth, body, len(parts), config))
                bar.update()
    postures = np.concatenate([part.postures for part in parts])
    return TestPool(join_pools([part.weak for part in parts]), join_pools([part.truth for part in parts]), postures)


def _scored(pose: SlpPose, truth: PoseTruth, body: BodyModel, row: int, config: ObservationConfig) -> TestPool:
    try:
        return test_pool_of(stored_pose(pose), truth, body, row, pose.subject, config)
    except FrameError as error:
        raise HwhupError(f'Pose {pose.number} of subject {pose.subject} cannot be scored: {error}') from error


def stored_pose(pose: SlpPose) -> SensedPose:
    """Return what was sensed, read from disk; a modality that was not sensed is None."""
    covers = {Cover(name): _sensed(pose, name) for name in pose.covers()}
    return SensedPose(pose.subject, pose.number, pose.intrinsics, covers, pose.pixels, pose.occluded)


def _sensed(pose: SlpPose, cover: str) -> Sensed:
    there = pose.modalities(cover)
    # The uncovered depth supervises and is scored, so it must be there.
    return Sensed(
        color=pose.color(cover) if 'RGB' in there else None,
        depth=pose.depth(cover) if 'depthRaw' in there or cover == Cover.NONE.value else None,
        infrared=pose.infrared(cover) if 'IRraw' in there else None,
        pressure=pose.pressure(cover) if 'PMarray' in there else None,
    )


def _poses(dataset: SlpSet, subject: int) -> list[SlpPose]:
    return list(SlpSet(dataset.folder, (subject,)))


def _truths(people: StoredPeople, subject: int) -> tuple[PoseTruth, ...]:
    """Return the truth of a subject, one entry a labelled pose."""
    truths, count = read_truth(people.truth, subject), len(_poses(people.poses, subject))
    if len(truths) != count:
        raise AssetError(
            f'Subject {subject} has {count} labelled poses and {len(truths)} true ones in {people.truth}: they are not '
            'of one run. Give the truth that was written beside this data.'
        )
    return truths
