"""Weights against exact truth on synthetic frames they never saw, through the very engine that runs live."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray

from hwhup_core.body.model import BodyModel, load_body
from hwhup_core.errors import HwhupError
from hwhup_core.evaluation.metrics import Interval, bootstrap_interval, cluster_interval, mpjpe, pa_mpjpe
from hwhup_core.geometry.crops import crop_intrinsics
from hwhup_core.inference.config import EngineConfig
from hwhup_core.inference.engine import Engine, build_engine
from hwhup_core.networks.mean import prediction_from_numbers
from hwhup_core.synthetic.crops import CropSampling, sample_crops
from hwhup_core.synthetic.site import SiteConfig, site_moments
from hwhup_core.types import Frame, State

FRAME_SIZE = 320
"""Side of a held-out frame, pixels."""
SAMPLING = CropSampling(
    size=FRAME_SIZE, oversampling=1, box_margin=(1.4, 2.0), box_shift=0.05, height=(1.1, 1.8), tilt_degrees=(0.0, 30.0)
)
"""A held-out frame: what a camera sees that is pointed at the infant, not quite centred; the engine finds the rest."""
CHUNK = 64
MAXWELL_MEAN = 2 * np.sqrt(2 / np.pi)
"""Mean length of a 3D Gaussian error in its coordinates' standard deviations."""
IDENTITY_CALIBRATION = {'sigma_floor_m': 0.0, 'sigma_gain': 1.0}
"""Makes an engine report the disagreement with the mirrored image as its standard deviation."""


@dataclass(frozen=True)
class LabelledFrame:
    """A frame with the truth of the one person in it."""

    frame: Frame
    joints: Float[ndarray, '24 3']
    """Camera frame, metres."""
    subject: int = 0
    """Whose frame it is; frames of one subject resemble each other. 0: of somebody else in every frame."""


def held_out_frames(body: BodyModel, seed: int, count: int) -> Iterator[LabelledFrame]:
    """Yield `count` frames of random infants in random cribs: a function of seed and position alone."""
    for start in range(0, count, CHUNK):
        samples = sample_crops(body, np.random.default_rng((seed, start)), SAMPLING, min(CHUNK, count - start))
        for index in range(len(samples)):
            camera = crop_intrinsics(samples.person_box(index), FRAME_SIZE, samples.intrinsics(index))
            frame = Frame(
                stamp_ns=start + index + 1, frame_id='held_out', depth=samples.depth[index], intrinsics=camera
            )
            yield LabelledFrame(frame, samples.joints[index])


def site_frames(config: SiteConfig, infants: Sequence[int]) -> Iterator[LabelledFrame]:
    """Yield colour frames, without depth, of these infants (seeds) at the site, with the truth."""
    for infant in infants:
        for moment in site_moments(config, infant):
            yield LabelledFrame(replace(moment.frame, depth=None), moment.truth.joints, infant)


@dataclass(frozen=True)
class Answers:
    """Estimates beside truth and mean pose, one row a frame that got an estimate."""

    predicted: Float[ndarray, 'n 24 3']
    mean_pose: Float[ndarray, 'n 24 3']
    true: Float[ndarray, 'n 24 3']
    aligned_depth_error: Float[ndarray, ' n']
    sigma: Float[ndarray, 'n 24']
    """Standard deviations that the engine claimed, metres."""
    subject: Int[ndarray, ' n']
    """As the frames have it."""
    missed: int
    """Frames in which the engine saw no person although one is there."""


def collect_answers(engine: Engine, frames: Iterable[LabelledFrame]) -> Answers:
    """Run the engine on every frame as if it were the first one."""
    rows: list[tuple[ndarray, ndarray, ndarray, float, ndarray, int]] = []
    missed = 0
    mean_joints = mean_pose_joints(engine)
    for labelled in frames:
        engine.reset()
        estimate = engine(labelled.frame)[0]
        if estimate.state == State.NO_PERSON:
            missed += 1
            continue
        error, sigma = estimate.aligned_depth_error, estimate.joint_sigma
        rows.append((estimate.joint_positions, mean_joints, labelled.joints, error, sigma, labelled.subject))
    if not rows:
        raise HwhupError(f'The engine saw no person in any of {missed} held-out frames. The weights are not trained.')
    predicted, mean_pose, true, errors, sigmas, subjects = (np.stack(column) for column in zip(*rows))
    return Answers(predicted, mean_pose, true, errors, sigmas, subjects, missed)


def mean_pose_joints(engine: Engine) -> Float[ndarray, '24 3']:
    """Return the joints of the mean body that the network starts from: what it would say without looking."""
    model = engine.loaded.model
    with torch.inference_mode():
        prediction = prediction_from_numbers(model.init_pose, model.init_shape, model.init_cam)
        joints: ndarray = engine.body.skeleton(prediction.params).joints[0].numpy()
    return joints


def evaluate_engine(engine: Engine, frames: Iterable[LabelledFrame]) -> dict[str, Interval]:
    """Return the figures of a weights card, see `figures_of`."""
    return figures_of(collect_answers(engine, frames))


def figures_of(answers: Answers) -> dict[str, Interval]:
    """
    Return millimetres (shares for `missed`), each with its 95 % interval over frames; without depth, no depth error.

    Frames of one subject count as if they were of many: see `subject_interval` for an interval over subjects.
    """
    missed = np.concatenate([np.ones(answers.missed), np.zeros(len(answers.true))])
    error = mpjpe(answers.predicted, answers.true)
    mean_error = mpjpe(answers.mean_pose, answers.true)
    figures = {
        'joint_error_mm': bootstrap_interval(1000 * error),
        'mean_pose_joint_error_mm': bootstrap_interval(1000 * mean_error),
        'joint_error_over_mean_pose': _ratio_interval(error, mean_error),
        'pa_joint_error_mm': bootstrap_interval(1000 * pa_mpjpe(answers.predicted, answers.true)),
        'aligned_depth_error_mm': bootstrap_interval(1000 * answers.aligned_depth_error),
        'missed': bootstrap_interval(missed),
    }
    if not np.isfinite(answers.aligned_depth_error).any():
        del figures['aligned_depth_error_mm']
    return figures


def subject_interval(answers: Answers) -> Interval:
    """Return the joint error, millimetres, with the 95 % interval of a bootstrap over subjects."""
    return cluster_interval(1000 * mpjpe(answers.predicted, answers.true), answers.subject)


def _ratio_interval(error: Float[ndarray, ' n'], baseline: Float[ndarray, ' n']) -> Interval:
    """Return the ratio of the means with its bootstrap interval over frames."""
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(error), (1000, len(error)))
    ratios = error[draws].mean(axis=1) / baseline[draws].mean(axis=1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return Interval(float(error.mean() / baseline.mean()), float(low), float(high), len(error))


def fit_calibration(engine: Engine, frames: Iterable[LabelledFrame]) -> dict[str, list[float]]:
    """
    Return `sigma_floor_m` and `sigma_gain` of each joint, see `inference.uncertainty`.

    Least squares of the joint's distance to the truth in the camera frame, placement included, on the disagreement with
    the mirrored image, both numbers at least zero; an isotropic Gaussian of standard deviation s has a mean length of
    1.6 s. The engine must carry `IDENTITY_CALIBRATION`, so that what it claims is the disagreement itself.
    """
    answers = collect_answers(engine, frames)
    error = np.linalg.norm(answers.predicted - answers.true, axis=-1) / MAXWELL_MEAN
    floors, gains = [], []
    for joint in range(error.shape[1]):
        floor, gain = nonnegative_line(answers.sigma[:, joint], error[:, joint])
        floors.append(floor)
        gains.append(gain)
    return {'sigma_floor_m': floors, 'sigma_gain': gains}


def nonnegative_line(x: Float[ndarray, ' n'], y: Float[ndarray, ' n']) -> tuple[float, float]:
    """Return floor and gain of y = floor + gain x by least squares with both at least 0."""
    if x.std() < 1e-12:
        return float(y.mean()), 0.0
    gain = float(np.cov(x, y, bias=True)[0, 1] / x.var())
    floor = float(y.mean() - gain * x.mean())
    if gain < 0:
        return float(y.mean()), 0.0
    if floor < 0:
        return 0.0, float((x @ y) / (x @ x))
    return floor, gain


def evaluate_checkpoint(weights: str, body: str, count: int, seed: int) -> dict[str, Interval]:
    """Return the card's figures, measured anew."""
    engine = build_engine(EngineConfig(weights=weights, body=body))
    return evaluate_engine(engine, held_out_frames(load_body(body), seed, count))
