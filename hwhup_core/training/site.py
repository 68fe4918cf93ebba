"""
What can be recorded and labelled at a site: colour and depth of its camera, and 2D joints as people label them.

The truth of the frames makes these labels, which are noisy, and nothing else of it gets into the pool.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from tqdm import tqdm

from hwhup_core.body.joints import SLP_14, SMPL_24, index
from hwhup_core.body.keypoint_sets import keypoint_set, point_map
from hwhup_core.body.model import BodyModel, load_body
from hwhup_core.errors import ConfigError
from hwhup_core.geometry.cameras import project
from hwhup_core.geometry.proxies import Joints2D, ProxyConfig
from hwhup_core.synthetic.site import Moment, SiteConfig, site_moments
from hwhup_core.synthetic.stream import Truth
from hwhup_core.training.observe import ObservationConfig, weak_labels, wide_box, wide_pictures
from hwhup_core.training.pools import WeakPool, join_pools
from hwhup_core.types import BodyParams

SMPL_NAME = {'thorax': 'neck', 'head_top': 'head'}
"""SMPL's joint whose visibility stands for one of SLP's; the others have the same name."""


@dataclass(frozen=True)
class RecordConfig:
    """How a site is recorded and labelled."""

    site: SiteConfig = field(default_factory=SiteConfig)
    label_noise: float = 2.5
    """Standard deviation of the 2D labels, pixels of the camera (640 x 480)."""
    observation: ObservationConfig = field(
        default_factory=lambda: ObservationConfig(picture=192, margin=2.2, proxy=ProxyConfig(flesh=0.5))
    )
    """How weak labels are taken; an infant has half the flesh of an adult over its joints."""

    def __post_init__(self) -> None:
        if self.label_noise < 0:
            raise ConfigError(f'label_noise is {self.label_noise}. Expected at least 0 pixels.')


def record_site(config: RecordConfig, infants: Sequence[int]) -> WeakPool:
    """Return what is seen and labelled of these infants (seeds), as a pool of weak labels; inputs are colour only."""
    workers = min(len(infants), os.cpu_count() or 1)
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context('spawn')) as executor:
        parts = executor.map(partial(record_infant, config), range(len(infants)), infants)
        return join_pools(list(tqdm(parts, total=len(infants), unit='infant', desc='record the site')))


def record_infant(config: RecordConfig, place: int, infant: int) -> WeakPool:
    """Return the samples of one infant; `place` says which rows of the fit store are its own."""
    torch.set_num_threads(1)
    body = load_body(config.site.stream.body)
    rng = np.random.default_rng((config.site.crib_seed, infant, 1))
    moments = enumerate(site_moments(config.site, infant), place * config.site.frames)
    return join_pools([_sample(config, body, moment, row, rng) for row, moment in moments])


def _sample(config: RecordConfig, body: BodyModel, moment: Moment, row: int, rng: np.random.Generator) -> WeakPool:
    frame, observation = moment.frame, config.observation
    assert frame.depth is not None
    assert frame.intrinsics is not None
    pixels = project(named_joints(moment.truth, body), frame.intrinsics)
    pixels = pixels + rng.normal(0.0, config.label_noise, pixels.shape)
    joints = Joints2D(SLP_14, pixels, seen_joints(moment.truth))
    box = wide_box(pixels, observation.margin)
    labels, names = weak_labels(frame.depth, frame.intrinsics, joints, box, row, rng, observation)
    pictures = replace(wide_pictures(frame, frame.intrinsics, box, observation.picture), depth=None)
    return WeakPool(pictures, labels, names, (f'infant {moment.infant}, {moment.time_s:.1f} s',))


def seen_joints(truth: Truth) -> Bool[ndarray, '14']:
    """Return which of SLP's joints are seen."""
    seen: ndarray = truth.visibility[[index(SMPL_NAME.get(name, name), SMPL_24) for name in SLP_14]]
    return seen


def named_joints(truth: Truth, body: BodyModel) -> Float[ndarray, '14 3']:
    """Return where SLP's joints truly are, camera frame, metres."""
    params = BodyParams(*(
        torch.from_numpy(np.asarray(array, np.float32))[None]
        for array in (truth.global_rotation, truth.joint_rotations, truth.betas)
    ))  # fmt: skip
    with torch.no_grad():
        skeleton = body.skeleton(params)
    points = torch.cat([skeleton.joints, skeleton.landmarks], dim=1)[0]
    joints: ndarray = (point_map(keypoint_set('slp_14'), body.landmark_names).mix @ points).numpy()
    placed: ndarray = joints + truth.translation
    return placed
