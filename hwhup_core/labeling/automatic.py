"""
Labels that nobody drew: the depth model's estimate, if the depth bears it out, as 2D joints with visibility and mask.

A frame where the estimate cannot be trusted is left unlabelled, and counted by reason: a wrong label costs more than a
missing one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray

from hwhup_core.body.joints import SLP_14
from hwhup_core.data.recording import Recording, open_recording
from hwhup_core.errors import ConfigError
from hwhup_core.geometry.cameras import project
from hwhup_core.inference.engine import Engine
from hwhup_core.labeling.judgements import REASONS, Judgement, append_judgement, read_judgements
from hwhup_core.labeling.label_lock import only_writer
from hwhup_core.labeling.labels import FOLDER, FrameLabel, LabelStore
from hwhup_core.labeling.placed import SMPL_BEHIND, LabelledBody, PlacedBody, inside_image, visible_mask
from hwhup_core.labeling.refine import RefineConfig, refined_to_depth
from hwhup_core.labeling.vis_vote import combined, seen_by_visnet
from hwhup_core.networks.visnet import VisNet
from hwhup_core.networks.visnet_checkpoint import VisNetCard
from hwhup_core.types import BodyEstimate, Frame, Intrinsics, State
from hwhup_core.whole_files import write_whole

MASKS = 'masks'
LoadedVisNet: TypeAlias = tuple[VisNet, VisNetCard]


@dataclass(frozen=True)
class AutomaticConfig:
    """When an estimate becomes a label."""

    min_confidence: float = 0.5
    """Of the estimate: expected share of joints within 0.1 m. Less: `low_confidence`."""
    max_aligned_depth_error_m: float = 0.04
    """Of the body that is labelled, after refinement. More: `depth_disagrees`."""
    min_visible_joints: int = 5
    """Of 14. Fewer: `too_few_visible`."""
    min_joint_confidence: float = 0.2
    """A joint that is less likely to be within 0.1 m of the truth has no label."""
    unknown_confidence: float = 0.5
    """Of joints whose weights have no calibration."""
    mask_margin_m: float = 0.05
    """Measured and rendered depth differ by less where the mask says body."""
    follow_s: float = 1.0
    """After a longer gap between frames the person is looked for anew."""
    refine: RefineConfig | None = field(default_factory=RefineConfig)
    """None: estimates are labelled as they are."""
    masks: bool = True
    """Whether body masks are written."""

    def __post_init__(self) -> None:
        shares = (self.min_confidence, self.min_joint_confidence, self.unknown_confidence)
        if not all(0 <= share <= 1 for share in shares) or not 0 <= self.min_visible_joints <= len(SLP_14):
            raise ConfigError(f'{self}: confidences are 0 to 1, min_visible_joints 0 to {len(SLP_14)}.')
        if min(self.max_aligned_depth_error_m, self.mask_margin_m) <= 0 or self.follow_s < 0:
            raise ConfigError(f'{self}: depth error and mask margin must be above 0, follow_s at least 0.')


@dataclass(frozen=True)
class LeftOut:
    """A frame that gets no label."""

    frame: str
    reason: str
    """One of `judgements.REASONS`."""


@dataclass(frozen=True)
class Judged:
    """A frame with its label, or None, and the numbers behind that."""

    judgement: Judgement
    label: FrameLabel | None
    mask: UInt8[ndarray, 'h w'] | None = None


@dataclass
class LabelReport:
    """What became of the frames of a recording."""

    labelled: int = 0
    refined: int = 0
    """Of these, frames whose refined body was kept."""
    joints: int = 0
    visible: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    """By reason; `judgements.REASONS`."""
    skipped: int = 0
    """Judged before by the same labeller."""

    def add(self, judged: Judged) -> None:
        """Count one frame."""
        if judged.label is None:
            self.left_out[judged.judgement.reason] += 1
            return
        self.labelled += 1
        self.refined += judged.judgement.refined
        self.joints += int(judged.label.labelled.sum())
        self.visible += int(judged.label.visible[judged.label.labelled].sum())


def automatic_labels(
    recording: Recording, engine: Engine, config: AutomaticConfig, visnet: LoadedVisNet | None = None
) -> Iterator[FrameLabel | LeftOut]:
    """Yield label or reason of every frame; a mask is on the disk before its label is yielded."""
    for judged in judge_frames(recording, engine, config, visnet):
        _write_mask(recording.folder, judged)
        yield judged.label or LeftOut(judged.judgement.frame, judged.judgement.reason)


def label_recording(
    folder: Path,
    engine: Engine,
    config: AutomaticConfig,
    visnet: LoadedVisNet | None = None,
    again: bool = False,
    limit: int | None = None,
) -> LabelReport:
    """
    Put the automatic labels of a recording into its store.

    A frame that the same labeller judged before is skipped unless `again`; `limit` is the most frames to judge.
    Labels by people stay: the store prefers them whatever comes later.
    """
    recording = open_recording(folder)
    labeller = labeller_name(engine, config, visnet)
    known = {} if again else read_judgements(folder)
    done = {frame for frame, judgement in known.items() if judgement.labeller == labeller}
    report = LabelReport(skipped=sum(record.unit in done for record in recording.frames))
    waiting = [i for i, record in enumerate(recording.frames) if record.unit not in done][:limit]
    with only_writer(folder):
        store = LabelStore(folder)
        for judged in judge_frames(recording, engine, config, visnet, waiting):
            _write_mask(folder, judged)
            _put(store, judged)
            append_judgement(folder, judged.judgement)
            report.add(judged)
    return report


def labeller_name(engine: Engine, config: AutomaticConfig, visnet: LoadedVisNet | None) -> str:
    """Return what tells one way of labelling from another: weights and settings."""
    how = 'estimated' if config.refine is None else f'refined-{config.refine.rounds}'
    seen = '' if visnet is None else f'+{visnet[1].weights_hash[:12]}'
    return f'{engine.loaded.card.weights_hash[:12]}{seen} {how}'


def judge_frames(
    recording: Recording,
    engine: Engine,
    config: AutomaticConfig,
    visnet: LoadedVisNet | None = None,
    which: list[int] | None = None,
) -> Iterator[Judged]:
    """Yield every frame (or `which`, by index) with its label or the reason why it has none."""
    if recording.card.intrinsics is None:
        raise ConfigError(
            f'{recording.folder} has no intrinsics; labels from depth need them. Record with camera info.'
        )
    labeller = _Labeller(engine, config, visnet)
    last_stamp = None
    for i in range(len(recording)) if which is None else which:
        frame, unit = recording.frame(i), recording.frames[i].unit
        gap = math.inf if last_stamp is None else (frame.stamp_ns - last_stamp) / 1e9
        if not 0 <= gap <= config.follow_s:
            engine.reset()
        last_stamp = frame.stamp_ns
        yield labeller.judge(unit, frame, recording.card.intrinsics)


class _Labeller:
    """Engine, body and networks of one run over a recording."""

    def __init__(self, engine: Engine, config: AutomaticConfig, visnet: LoadedVisNet | None) -> None:
        self.engine = engine
        self.config = config
        self.visnet = visnet
        self.body = LabelledBody(engine.body)
        self.name = labeller_name(engine, config, visnet)

    def judge(self, unit: str, frame: Frame, camera: Intrinsics) -> Judged:
        """Return label and mask of a frame, or the reason why there is none."""
        if frame.depth is None or not (frame.depth > 0).any():
            return self._left_out(unit, 'no_depth')
        estimate = self.engine(frame)[0]
        if estimate.state == State.NO_PERSON:
            return self._left_out(unit, 'no_person')
        if estimate.confidence < self.config.min_confidence:
            return self._left_out(unit, 'low_confidence', estimate, estimate.aligned_depth_error)
        placed, error, refined = self._body_of(estimate, frame.depth, camera)
        if not error <= self.config.max_aligned_depth_error_m:
            return self._left_out(unit, 'depth_disagrees', estimate, error, refined)
        label, mask = self._label(unit, frame, estimate, placed, camera)
        if label.visible.sum() < self.config.min_visible_joints:
            return self._left_out(unit, 'too_few_visible', estimate, error, refined)
        return Judged(Judgement(unit, self.name, '', estimate.confidence, error, refined), label, mask)

    def _left_out(
        self,
        unit: str,
        reason: str,
        estimate: BodyEstimate | None = None,
        error: float = math.nan,
        refined: bool = False,
    ) -> Judged:
        assert reason in REASONS
        confidence = math.nan if estimate is None else estimate.confidence
        return Judged(Judgement(unit, self.name, reason, confidence, error, refined), None)

    def _body_of(
        self, estimate: BodyEstimate, depth: Float[ndarray, 'h w'], camera: Intrinsics
    ) -> tuple[PlacedBody, float, bool]:
        """Return the body to label, its aligned depth error and whether it is the refined one."""
        if self.config.refine is not None:
            found = refined_to_depth(self.body, estimate, depth, camera, self.config.refine)
            if found is not None:
                return found.placed, found.aligned_depth_error, True
        return self.body.placed_as(estimate), estimate.aligned_depth_error, False

    def _label(
        self, unit: str, frame: Frame, estimate: BodyEstimate, placed: PlacedBody, camera: Intrinsics
    ) -> tuple[FrameLabel, UInt8[ndarray, 'h w'] | None]:
        assert frame.depth is not None
        pixels = project(placed.points, camera)
        comparison = self.body.compared(placed, frame.depth, camera)
        seen = self.body.seen(placed, frame.depth, comparison, camera)
        if self.visnet is not None:
            seen = combined(seen, seen_by_visnet(frame, pixels, *self.visnet))
        mask = None
        if self.config.masks and comparison is not None:
            mask = visible_mask(comparison, frame.depth.shape, self.config.mask_margin_m)
        name = '' if mask is None else f'{MASKS}/{unit}.png'
        return _frame_label(unit, pixels, seen, self._confidence(estimate), inside_image(pixels, camera), name), mask

    def _confidence(self, estimate: BodyEstimate) -> Float[ndarray, '14']:
        """Return how sure each joint is; a joint below the limit gets 0: no label."""
        confidence = estimate.joint_confidence[list(SMPL_BEHIND)]
        known = np.where(np.isnan(confidence), self.config.unknown_confidence, confidence)
        kept: ndarray = np.where(known >= self.config.min_joint_confidence, known, 0.0)
        return kept


def _frame_label(
    unit: str,
    pixels: Float[ndarray, '14 2'],
    seen: Float[ndarray, '14'],
    confidence: Float[ndarray, '14'],
    inside: Bool[ndarray, '14'],
    mask: str,
) -> FrameLabel:
    """Return the label; what is neither seen nor hidden for sure counts as hidden: its depth may be another thing's."""
    labelled = inside & (confidence > 0)
    return FrameLabel(
        frame=unit,
        joints=SLP_14,
        pixels=np.where(labelled[:, None], pixels, 0.0),
        labelled=labelled,
        visible=np.where(labelled, np.nan_to_num(seen, nan=0.0), 0.0),
        confidence=np.where(labelled, confidence, 0.0),
        source='automatic',
        mask=mask,
    )


def _write_mask(folder: Path, judged: Judged) -> None:
    if judged.label is not None and judged.mask is not None:
        done, content = cv2.imencode('.png', judged.mask)
        assert done
        write_whole(folder / FOLDER / judged.label.mask, content.tobytes())


def _put(store: LabelStore, judged: Judged) -> None:
    """Store the label; one that is not given any more is replaced by one without joints, which nobody uses."""
    frame = judged.judgement.frame
    old = store.all().get(frame, {}).get('automatic')
    if judged.label is not None:
        store.put(judged.label)
    elif old is not None and old.labelled.any():
        store.put(_without_joints(old))


def _without_joints(label: FrameLabel) -> FrameLabel:
    nothing = np.zeros(len(label.joints))
    empty = replace(label, pixels=np.zeros((len(nothing), 2)), labelled=nothing > 0, visible=nothing)
    return replace(empty, confidence=nothing, mask='')
