"""
Pools of weak labels from a recording and its 2D labels, whoever made these.

Joints go by name onto `slp_16`. What a label does not have takes no part; the thorax of COCO's joints is the middle of
the shoulders. The depth that supervises is that of the same frame.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from hwhup_core.body.joints import SLP_14
from hwhup_core.data.recording import LABELS, Recording
from hwhup_core.errors import AssetError, FrameError, HwhupError
from hwhup_core.geometry.depth_cleaning import clean_depth
from hwhup_core.geometry.proxies import Joints2D, joint_proxies, with_head_and_pelvis
from hwhup_core.labeling.labels import FrameLabel
from hwhup_core.networks.packing import Modality
from hwhup_core.training.observe import ObservationConfig, Seen, labels_of, see, wide_box, wide_pictures
from hwhup_core.training.pools import WeakPool, join_pools
from hwhup_core.types import Frame, Intrinsics

JOINTS = 'slp_16'
"""Key point set of the pools."""
SHOULDERS = ('left_shoulder', 'right_shoulder')
COLUMNS = {
    Modality.RGB: 'color', Modality.DEPTH: 'depth', Modality.INFRARED: 'infrared', Modality.PRESSURE: 'pressure',
}  # fmt: skip
"""Modality -> field of a frame and kind of file in a recording."""


@dataclass(frozen=True)
class LabelledJoints:
    """The joints of a label by the names of `slp_16`."""

    joints: Joints2D
    confidence: Float[ndarray, ' k']
    """0 where there is no label."""


@dataclass(frozen=True)
class Observed:
    """One labelled frame as it supervises or scores."""

    frame: Frame
    intrinsics: Intrinsics
    named: LabelledJoints
    seen: Seen
    """In the whole picture."""


def weak_pool_of_recording(
    recording: Recording,
    labels: Mapping[str, FrameLabel],
    frames: Sequence[str],
    observation: ObservationConfig,
    modalities: Sequence[Modality] = (Modality.RGB,),
) -> tuple[WeakPool, Counter[str]]:
    """
    Return the weak labels of these frames (units of the index) and how many could not be used, by reason.

    Raises `HwhupError` where none can be used.
    """
    places = {record.unit: place for place, record in enumerate(recording.frames)}
    parts: list[WeakPool] = []
    left_out: Counter[str] = Counter()
    first = ''
    for name in frames:
        try:
            observed = observe(recording, places[name], labels[name], observation)
            parts.append(_sample(observed, name, len(parts), observation, modalities))
        except (FrameError, AssetError) as error:
            left_out[error.reason if isinstance(error, FrameError) else 'unreadable'] += 1
            first = first or f'{name}: {error}'
    if not parts:
        raise HwhupError(f'None of the {len(frames)} labelled frames of {recording.folder} can be used. First: {first}')
    return join_pools(parts), left_out


def observe(recording: Recording, place: int, label: FrameLabel, observation: ObservationConfig) -> Observed:
    """Return what the frame at `place` and its label say, or raise a `FrameError` that says what is missing."""
    frame = recording.frame(place)
    if frame.intrinsics is None or frame.depth is None:
        lacks = 'camera' if frame.intrinsics is None else 'depth'
        raise FrameError(f'no_{lacks}', f'It has no {lacks}, which has to supervise. Record depth with its camera.')
    if not (frame.depth > 0).any():
        raise FrameError('no_depth', 'Its depth has no measurement at all.')
    named = joints_of_label(label, observation.proxy.head_ratio)
    mask = read_mask(recording.folder, label, frame.depth.shape)
    rng = np.random.default_rng(zlib.crc32(label.frame.encode()))
    seen = _see(frame.depth, frame.intrinsics, named.joints, mask, rng, observation)
    if not seen.proxies.visible.any():
        raise FrameError('no_visible_joint', 'No joint is labelled visible where depth was measured.')
    if not seen.mask.any():
        raise FrameError('empty_mask', 'The depth shows no body where the visible joints are.')
    return Observed(frame, frame.intrinsics, named, seen)


def joints_of_label(label: FrameLabel, head_ratio: float) -> LabelledJoints:
    """Return the joints of `slp_16` that a label says something of, by name; NaN and confidence 0 for the others."""
    found = {
        name: (label.pixels[place], bool(label.visible[place] > 0.5), float(label.confidence[place]))
        for place, name in enumerate(label.joints)
        if label.labelled[place]
    }
    if 'thorax' not in found and all(name in found for name in SHOULDERS):
        (left, left_seen, left_sure), (right, right_seen, right_sure) = (found[name] for name in SHOULDERS)
        found['thorax'] = (left + right) / 2, left_seen and right_seen, min(left_sure, right_sure)
    nowhere = np.full(2, np.nan), False, 0.0
    pixels, visible, sure = zip(*(found.get(name, nowhere) for name in SLP_14))
    joints = with_head_and_pelvis(Joints2D(SLP_14, np.stack(pixels).astype(np.float64), np.array(visible)), head_ratio)
    ends = (('thorax', 'head_top'), ('left_hip', 'right_hip'))
    added = [min(found.get(name, nowhere)[2] for name in pair) for pair in ends]
    return LabelledJoints(joints, np.array([*sure, *added], np.float64))


def read_mask(folder: Path, label: FrameLabel, shape: tuple[int, ...]) -> Bool[ndarray, 'h w'] | None:
    """Return the body mask of a label, None where it has none; one of another size is refused."""
    if not label.mask:
        return None
    path = (folder / LABELS / label.mask).resolve()
    if not path.is_relative_to((folder / LABELS).resolve()):
        raise AssetError(f'The mask {label.mask} of {label.frame} does not lie below {LABELS}/. Label the frame again.')
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) if path.is_file() else None
    if image is None:
        raise AssetError(f'{path} is no readable mask. Label {label.frame} again.')
    if image.shape != shape:
        raise AssetError(f'The mask {path} is {image.shape}, the frame {shape}. Label {label.frame} again.')
    mask: ndarray = image > 127
    return mask


def _see(
    depth: Float[ndarray, 'h w'],
    intrinsics: Intrinsics,
    joints: Joints2D,
    mask: Bool[ndarray, 'h w'] | None,
    rng: np.random.Generator,
    observation: ObservationConfig,
) -> Seen:
    """Return what the depth shows; a mask that was labelled is taken as it is."""
    if mask is None:
        return see(depth, intrinsics, joints, rng, observation)
    cleaned = clean_depth(depth, observation.cleaning)
    return Seen(cleaned, mask, joint_proxies(cleaned, joints, intrinsics, observation.proxy))


def _sample(
    observed: Observed, name: str, row: int, observation: ObservationConfig, modalities: Sequence[Modality]
) -> WeakPool:
    """Return the pool of one frame."""
    named, size = observed.named, observation.picture
    box = wide_box(named.joints.pixels, observation.margin)
    labels = labels_of(observed.seen, named.joints, box, row, size)
    labels = replace(labels, confidence=labels.confidence * named.confidence)
    wanted = {COLUMNS[modality] for modality in modalities}
    frame = observed.frame
    missing = sorted(field for field in wanted if getattr(frame, field) is None)
    if missing:
        raise FrameError(f'missing_{missing[0]}', f'It has no {missing[0]} picture, which the network is to read.')
    kept = Frame(frame.stamp_ns, frame.frame_id, **{field: getattr(frame, field) for field in wanted})
    pictures = wide_pictures(kept, observed.intrinsics, box, size)
    return WeakPool(pictures, labels, named.joints.names, (name,))
