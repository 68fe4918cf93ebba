"""How well an engine answers the held-out frames of a recording, against their labels and their depth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from hwhup_core.body.joints import SLP_14
from hwhup_core.body.keypoint_sets import keypoint_set, point_map
from hwhup_core.body.model import BodyModel
from hwhup_core.data.recording import Recording
from hwhup_core.errors import AssetError, FrameError
from hwhup_core.evaluation.keypoint_metrics import hits_per_sample, pck
from hwhup_core.geometry.cameras import project
from hwhup_core.geometry.rotations import axis_angle_to_matrix
from hwhup_core.inference.engine import Engine
from hwhup_core.inference.placement import Comparison, compare_depth, place_by_depth
from hwhup_core.labeling.labels import FrameLabel
from hwhup_core.networks.packing import Modality
from hwhup_core.training.observe import ObservationConfig
from hwhup_core.training.recording_pools import Observed, observe
from hwhup_core.types import BodyEstimate, BodyParams, Frame, State

MEASURES = ('reprojection_px', 'aligned_depth_error_mm', 'mask_iou', 'pck')
"""One number a frame each; NaN where it is not defined."""
HIGHER_IS_BETTER = ('mask_iou', 'pck')


@dataclass(frozen=True)
class Scores:
    """The answers of one engine, one entry a frame."""

    values: Mapping[str, Float[ndarray, ' n']]
    """By measure."""
    missed: Bool[ndarray, ' n']
    """Whether it saw nobody; its measures are then NaN."""


@dataclass(frozen=True)
class Scored:
    """Engines on the same frames."""

    frames: tuple[str, ...]
    engines: tuple[Scores, ...]
    left_out: Counter[str]
    """Frames that could not be used, by reason."""


def observed_frames(
    recording: Recording,
    labels: Mapping[str, FrameLabel],
    frames: Sequence[str],
    observation: ObservationConfig,
    left_out: Counter[str],
) -> Iterator[tuple[str, Observed]]:
    """Yield the frames that can be used, one in memory at a time; the others are counted in `left_out`."""
    places = {record.unit: place for place, record in enumerate(recording.frames)}
    for name in frames:
        try:
            yield name, observe(recording, places[name], labels[name], observation)
        except (FrameError, AssetError) as error:
            left_out[error.reason if isinstance(error, FrameError) else 'unreadable'] += 1


def score_frames(engines: Sequence[Engine], frames: Iterable[tuple[str, Observed]], left_out: Counter[str]) -> Scored:
    """Return how each engine answers each frame, as if it were the first one."""
    names: list[str] = []
    rows: list[list[dict[str, float] | None]] = []
    for name, observed in frames:
        names.append(name)
        rows.append([_scores(engine, observed) for engine in engines])
    columns = zip(*rows) if rows else [[] for _ in engines]
    return Scored(tuple(names), tuple(_gathered(column) for column in columns), left_out)


def _gathered(rows: Sequence[dict[str, float] | None]) -> Scores:
    nothing = dict.fromkeys(MEASURES, float('nan'))
    values = {name: np.array([(row or nothing)[name] for row in rows], np.float64) for name in MEASURES}
    return Scores(values, np.array([row is None for row in rows], bool))


def answer(engine: Engine, frame: Frame) -> BodyEstimate:
    """Return what the engine says of a frame without having seen others; depth is taken away where it reads none."""
    reads_depth = Modality.DEPTH in engine.loaded.card.input.modalities
    engine.reset()
    return engine(frame if reads_depth else replace(frame, depth=None))[0]


def _scores(engine: Engine, observed: Observed) -> dict[str, float] | None:
    """Return the measures of one answer; None where nobody was seen."""
    estimate = answer(engine, observed.frame)
    if estimate.state == State.NO_PERSON:
        return None
    depth = observed.frame.depth
    assert depth is not None
    vertices, faces = engine.vertices(estimate), engine.body.faces.numpy()
    root = estimate.root_position
    placed = place_by_depth(vertices - root, faces, root, depth, observed.intrinsics)
    found = project(label_points(engine.body, estimate), observed.intrinsics)
    true, seen = observed.named.joints.pixels, scored_joints(observed)
    distance = np.linalg.norm(found - true, axis=1)[seen]
    hits = pck(found[None], true[None], seen[None], observed.named.joints.names)
    return {
        'reprojection_px': float(distance.mean()) if seen.any() else float('nan'),
        'aligned_depth_error_mm': 1000 * placed.aligned_depth_error,
        'mask_iou': mask_iou(compare_depth(vertices, faces, depth, observed.intrinsics), observed.seen.mask),
        'pck': float(hits_per_sample(hits)[0]),
    }


def scored_joints(observed: Observed) -> Bool[ndarray, ' k']:
    """Return which joints are scored: of SLP's fourteen those that are labelled and seen by the camera."""
    joints = observed.named.joints
    basic = np.array([name in SLP_14 for name in joints.names])
    scored: ndarray = basic & joints.visible & (observed.named.confidence > 0)
    return scored


@torch.inference_mode()
def label_points(body: BodyModel, estimate: BodyEstimate) -> Float[ndarray, '16 3']:
    """Return the points of an estimated body that the joints of `slp_16` stand for, camera frame, metres."""
    rotations = axis_angle_to_matrix(torch.from_numpy(estimate.pose.astype(np.float32).reshape(1, 24, 3)))
    betas = torch.from_numpy(estimate.betas.astype(np.float32)[None])
    skeleton = body.skeleton(BodyParams(rotations[:, 0], rotations[:, 1:], betas))
    points = torch.cat([skeleton.joints, skeleton.landmarks], dim=1)[0] - skeleton.joints[0, 0]
    mix = point_map(keypoint_set('slp_16'), body.landmark_names).mix
    placed: ndarray = (mix @ points).numpy().astype(np.float64) + estimate.root_position
    return placed


def mask_iou(comparison: Comparison | None, mask: Bool[ndarray, 'h w']) -> float:
    """Return the overlap of the body as it was placed with the body's mask."""
    if comparison is None:
        return 0.0
    window = comparison.window
    inside = mask[window.top : window.bottom, window.left : window.right]
    drawn = comparison.rendered > 0
    shared = int(np.count_nonzero(drawn & inside))
    union = int(np.count_nonzero(drawn)) + int(np.count_nonzero(mask)) - shared
    return shared / max(union, 1)


def evenly(frames: Sequence[str], count: int) -> tuple[str, ...]:
    """Return at most `count` of the frames, evenly spread."""
    if len(frames) <= count:
        return tuple(frames)
    places: Int[ndarray, ' n'] = np.linspace(0, len(frames) - 1, count).round().astype(int)
    return tuple(frames[int(place)] for place in places)
