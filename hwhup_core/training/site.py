"""
A site: one crib with its camera, in which infants come and go. What can be recorded and labelled there, and the truth.

The recording holds colour and depth of the camera and 2D joints as people label them. The truth of the frames makes
these labels, which are noisy, and nothing else of it gets into the pool; the truth that scores are made from is that of
other infants. Of the crib, the infants of a recording share the mattress, the bars, the light and the camera.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from tqdm import tqdm

from hwhup_core.body.joints import SLP_14, SMPL_24, index
from hwhup_core.body.keypoint_sets import keypoint_set, point_map
from hwhup_core.body.model import BodyModel, load_body
from hwhup_core.errors import ConfigError
from hwhup_core.evaluation.evaluate import LabelledFrame
from hwhup_core.geometry.cameras import project
from hwhup_core.geometry.proxies import Joints2D
from hwhup_core.synthetic.stream import CribStream, StreamConfig, Truth
from hwhup_core.training.observe import ObservationConfig, weak_labels, wide_box, wide_pictures
from hwhup_core.training.pools import WeakPool, join_pools
from hwhup_core.types import BodyParams

SECOND_NS = 1_000_000_000
SMPL_NAME = {'thorax': 'neck', 'head_top': 'head'}
"""SMPL's joint whose visibility stands for one of SLP's; the others have the same name."""


@dataclass(frozen=True)
class SiteConfig:
    """Which crib, and how it is recorded."""

    crib_seed: int = 0
    """Which crib: seed 0 is the one that the monitor shows by default."""
    frames: int = 50
    """Of each infant, spread over its motion."""
    label_noise: float = 2.5
    """Standard deviation of the 2D labels, pixels of the camera (640 x 480)."""
    stream: StreamConfig = field(default_factory=StreamConfig)
    """The camera, and how infants move."""

    def __post_init__(self) -> None:
        if self.frames < 1 or self.label_noise < 0:
            raise ConfigError(f'frames is {self.frames}, label_noise {self.label_noise}. Expected at least 1 and 0.')


def record_site(config: SiteConfig, infants: Sequence[int], observation: ObservationConfig) -> WeakPool:
    """Return colour, depth and 2D labels of these infants (seeds from 1) in the crib, as a pool of weak labels."""
    workers = min(len(infants), os.cpu_count() or 1)
    task = partial(_record_infant, config, observation)
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context('spawn')) as executor:
        parts = executor.map(task, enumerate(infants))
        return join_pools(list(tqdm(parts, total=len(infants), unit='infant', desc='record the site')))


def site_frames(config: SiteConfig, infants: Sequence[int]) -> Iterator[LabelledFrame]:
    """Yield colour frames of these infants with the truth to score against; there is no depth in them."""
    for infant in infants:
        for stream, stamp_ns, time_s in _moments(config, infant):
            frame, truth = stream.frame(stamp_ns, time_s)
            yield LabelledFrame(replace(frame, depth=None), truth.joints)


def _moments(config: SiteConfig, infant: int) -> Iterator[tuple[CribStream, int, float]]:
    """Yield the stream of an infant with stamps and times over one period of its motion."""
    stream = CribStream(config.stream, config.crib_seed, infant)
    for time_s in np.arange(config.frames) * (stream.period / config.frames):
        yield stream, round(time_s * SECOND_NS) + 1, float(time_s)


def _record_infant(config: SiteConfig, observation: ObservationConfig, task: tuple[int, int]) -> WeakPool:
    place, infant = task
    torch.set_num_threads(1)
    body = load_body(config.stream.body)
    rng = np.random.default_rng((config.crib_seed, infant, 1))
    parts = []
    for row, (stream, stamp_ns, time_s) in enumerate(_moments(config, infant), place * config.frames):
        frame, truth = stream.frame(stamp_ns, time_s)
        joints = labelled_joints(truth, body, stream, config.label_noise, rng)
        assert frame.depth is not None
        box = wide_box(joints.pixels, observation.margin)
        labels, names = weak_labels(frame.depth, stream.intrinsics, joints, box, row, rng, observation)
        pictures = replace(wide_pictures(frame, stream.intrinsics, box, observation.picture), depth=None)
        parts.append(WeakPool(pictures, labels, names, (f'infant {infant}, {time_s:.1f} s',)))
    return join_pools(parts)


def labelled_joints(
    truth: Truth, body: BodyModel, stream: CribStream, noise: float, rng: np.random.Generator
) -> Joints2D:
    """Return SLP's joints as somebody labels them: a few pixels off, with who is seen."""
    pixels = project(named_joints(truth, body), stream.intrinsics)
    seen = truth.visibility[[index(SMPL_NAME.get(name, name), SMPL_24) for name in SLP_14]]
    return Joints2D(SLP_14, pixels + rng.normal(0.0, noise, pixels.shape), seen)


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
    return joints + truth.translation
