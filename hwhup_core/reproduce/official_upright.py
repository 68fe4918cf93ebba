"""
Table 3 and S2 on Human3.6M and 3DPW, in SPIN's layouts.

HW-HuP is trained on Human3.6M where its training file names depth (HW-HuP's `depthname`; how that depth was made is not
published) and visibility; without depth the method is the 2D baseline, and its columns are left out. MPII's 2D joints
join in where they are configured: both sets in one pool, where the released code draws 40 % from the one and 60 % from
the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from hwhup_core.assets import find_asset, require_asset
from hwhup_core.body.joints import SPIN_24, SPIN_49, spin_24_slots
from hwhup_core.body.keypoint_sets import keypoint_set
from hwhup_core.body.regressors import read_regressor
from hwhup_core.data.h36m import PAPER_EVERY, read_h36m
from hwhup_core.data.mpii import read_mpii
from hwhup_core.data.sample import BadSamples, Dataset, Keypoints, Sample
from hwhup_core.data.threedpw import read_3dpw
from hwhup_core.errors import AssetError
from hwhup_core.evaluation.protocols import ProtocolScores, means_by_action, protocol_scores
from hwhup_core.geometry.depth_cleaning import CleaningConfig
from hwhup_core.networks.packing import Modality
from hwhup_core.reproduce.official_scores import figures, predict_samples
from hwhup_core.reproduce.official_slp import gendered
from hwhup_core.reproduce.official_start import (
    RELEASED,
    OfficialConfig,
    Start,
    adapted,
    load_start,
    spin_inputs,
)
from hwhup_core.reproduce.results import plain_interval
from hwhup_core.settings import setting
from hwhup_core.training.pools import WeakPool, join_pools
from hwhup_core.training.sample_pools import weak_pool_from_samples
from hwhup_core.training.stages import TABLE_ONE, StageConfig
from hwhup_core.training.visnet_fill import VISNET, filled_by_visnet
from hwhup_core.types import Frame, Intrinsics

NEEDED_ASSETS = ('smpl_neutral', 'spin_checkpoint', 'gmm_08', 'j_regressor_h36m')
GENDERED_ASSETS = ('smpl_male', 'smpl_female')
"""Bodies of 3DPW's people."""
COLUMNS = ('pre_trained', 'fine_tuned', 'full')
EPOCHS, SECOND_STAGE = 4, 2
"""The paper's schedule on Human3.6M."""
_CAMERAS = {
    '54138969': (1145.0494384765625, 1143.7811279296875, 512.54150390625, 515.4514770507812, 1002),
    '55011271': (1149.6756591796875, 1147.5916748046875, 508.8486328125, 508.0649108886719, 1000),
    '58860488': (1149.1407470703125, 1148.7989501953125, 519.8158569335938, 501.40264892578125, 1000),
    '60457274': (1145.5113525390625, 1144.77392578125, 514.9682006835938, 501.88201904296875, 1002),
}
"""Human3.6M's calibration: focal lengths, principal point (the first pixel's centre at 0), height; 1000 wide."""
_WIDTH = 1000
_INPUTS = spin_inputs((Modality.RGB,))


def needed_assets() -> tuple[str, ...]:
    """Return the assets that the configured data sets need."""
    return NEEDED_ASSETS + (GENDERED_ASSETS if setting('data.3dpw') is not None else ())


def table3(config: OfficialConfig, run: Path) -> dict[str, Any]:
    """Return the errors of every column that can be had on every data set that is configured."""
    start = load_start('smpl_neutral')
    networks, notes = _networks(start, config, run)
    tests = _tests()
    columns: dict[str, Any] = {}
    actions: dict[str, Any] = {}
    for column, network in networks.items():
        scores = {name: _scored(network, start, dataset) for name, dataset in tests.items()}
        columns[column] = {name: _figures(each) for name, each in scores.items()}
        if 'h36m' in scores:
            actions[column] = _by_action(scores['h36m'])
    return {'columns': columns, 'actions': actions, 'notes': notes}


def _networks(start: Start, config: OfficialConfig, run: Path) -> tuple[dict[str, nn.Module], list[str]]:
    """Return the networks of the columns, and what was not trained and why."""
    networks: dict[str, nn.Module] = {'pre_trained': start.network()}
    if find_asset('hwhup_checkpoint') is not None:
        networks[RELEASED] = start.network('hwhup_checkpoint')
    pool, notes = _training_pool(config)
    if pool is not None:
        trained = COLUMNS[1:] if pool.labels.mask.any() else COLUMNS[1:2]
        if len(trained) == 1:
            notes.append('full: the training file names no depth (`depthname`), which the method learns from.')
        for column in trained:
            networks[column] = adapted(start, stage(column), _INPUTS, pool, config, run / column)
    return networks, notes


def stage(column: str) -> StageConfig:
    """Return a column's setting on Human3.6M: four epochs, rendered depth in the last two, depth not filtered."""
    raw = CleaningConfig(fill='none', iterations=0, far=20.0)
    given = TABLE_ONE[column]
    return replace(
        given, epochs=EPOCHS, stage_two_epoch=SECOND_STAGE, cleaning=raw, proxy=replace(given.proxy, far=20.0)
    )


def _training_pool(config: OfficialConfig) -> tuple[WeakPool | None, list[str]]:
    """Return Human3.6M's training people, and MPII's 2D joints where they are configured."""
    folder = setting('data.h36m')
    if folder is None:
        return None, ['fine_tuned, full: data.h36m is not set, so that there is nothing to train on.']
    full = stage('full')
    observation = replace(config.observation, mask='joint_range', cleaning=full.cleaning, proxy=full.proxy)
    bad, keypoints = BadSamples(skip=True), keypoint_set('spin_24')
    try:
        dataset = read_h36m(folder, bad, 'train', every=PAPER_EVERY)
    except AssetError as error:
        return None, [f'fine_tuned, full: {error}']
    people = in_spin_24(with_cameras(dataset))
    fill = filled_by_visnet(VISNET, people.joints)
    parts = [weak_pool_from_samples(people, observation, (Modality.RGB,), keypoints, fill, bad)]
    mpii = setting('data.mpii')
    if mpii is not None:
        others = in_spin_24(read_mpii(mpii, bad))
        part = weak_pool_from_samples(others, observation, (Modality.RGB,), keypoints, None, bad)
        rows = part.labels.rows + parts[0].labels.rows.max() + 1
        parts.append(replace(part, labels=replace(part.labels, rows=rows)))
    left_out = [f'left out of training: {count} x {reason}' for reason, count in bad.reasons.items()]
    return join_pools(parts), left_out


def with_cameras(dataset: Dataset) -> Dataset:
    """Return Human3.6M's samples with the calibration of their camera, which SPIN's files do not hold."""

    def seen(sample: Sample) -> Sample:
        camera = sample.tags['camera']
        if camera not in _CAMERAS:
            raise AssetError(f'{sample.name}: no camera {camera!r} in Human3.6M. There are: {", ".join(_CAMERAS)}.')
        fx, fy, cx, cy, height = _CAMERAS[camera]

        def load() -> Frame:
            frame = sample.load()
            assert frame.color is not None
            # Pictures may have been stored smaller.
            ratio = frame.color.shape[1] / _WIDTH
            return replace(
                frame,
                intrinsics=Intrinsics(ratio * fx, ratio * fy, ratio * (cx + 0.5), ratio * (cy + 0.5), _WIDTH, height),
            )

        return replace(sample, load=load)

    return replace(dataset, samples=tuple(seen(sample) for sample in dataset))


def in_spin_24(dataset: Dataset) -> Dataset:
    """Return the samples with their 2D joints in SPIN's 24 ground-truth slots; of SPIN's 49 the last 24."""
    places = None if dataset.joints == SPIN_49 else spin_24_slots(dataset.joints)

    def renamed(sample: Sample) -> Sample:
        given = sample.keypoints
        if given is None:
            return sample
        if places is None:
            chosen = Keypoints(given.pixels[25:], given.labelled[25:], given.visible[25:])
        else:
            chosen = Keypoints(np.zeros((24, 2)), np.zeros(24, bool), np.zeros(24))
            for name in ('pixels', 'labelled', 'visible'):
                getattr(chosen, name)[places] = getattr(given, name)
        return replace(sample, keypoints=chosen)

    return replace(dataset, joints=SPIN_24, samples=tuple(renamed(sample) for sample in dataset))


def _tests() -> dict[str, Dataset]:
    """Return the held-out people of each configured data set."""
    h36m, outdoors, bad = setting('data.h36m'), setting('data.3dpw'), BadSamples(skip=True)
    tests = {}
    if h36m is not None:
        tests['h36m'] = read_h36m(h36m, bad, 'test', 'p1', PAPER_EVERY)
    if outdoors is not None:
        tests['3dpw'] = read_3dpw(outdoors, bad, 'test')
    return tests


def _scored(network: nn.Module, start: Start, dataset: Dataset) -> ProtocolScores:
    """Return the 14-joint errors by the official regressor."""
    samples, params = predict_samples(network, _INPUTS, dataset, BadSamples(skip=True))
    regressor = read_regressor(require_asset('j_regressor_h36m'), 17)
    if dataset.kind == '3dpw':
        # Its own joints are SMPL's; the protocol regresses the true bodies instead.
        samples = tuple(replace(sample, joints_3d=None) for sample in samples)
    return protocol_scores(params, samples, start.body.to('cpu'), regressor, gendered())


def _figures(scores: ProtocolScores) -> dict[str, Any]:
    columns = {'mpjpe_mm': scores.mpjpe_mm, 'pa_mpjpe_mm': scores.pa_mpjpe_mm}
    return figures(columns, scores.groups) | {'regressor': scores.regressor, 'count': len(scores)}


def _by_action(scores: ProtocolScores) -> dict[str, Any]:
    """Return the means of each action, every frame once, and their plain mean."""
    actions: Mapping[str, Any] = {
        action: {name: plain_interval(getattr(means, name)) for name in ('mpjpe_mm', 'pa_mpjpe_mm')}
        for action, means in means_by_action(scores).items()
        if means.mpjpe_mm.count
    }
    plain = {
        name: float(np.mean([each[name]['mean'] for each in actions.values()])) if actions else None
        for name in ('mpjpe_mm', 'pa_mpjpe_mm')
    }
    return {'actions': dict(actions), 'plain_mean': plain}
