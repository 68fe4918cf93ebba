"""What the review page draws between labelled joints, and where it puts them when a person starts from nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hwhup_core.body.joints import PARENTS_24, SMPL_24
from hwhup_core.geometry.crops import turn_matrix
from hwhup_core.types import PersonBox

_LIMBS = (
    *(('shoulder', 'elbow'), ('elbow', 'wrist'), ('hip', 'knee'), ('knee', 'ankle'), ('shoulder', 'hip')),
    *(('eye', 'ear'),),
)
"""Bones that both sides have."""
_ACROSS = (
    *(('thorax', 'left_shoulder'), ('thorax', 'right_shoulder'), ('head_top', 'thorax'), ('left_hip', 'right_hip')),
    *(('nose', 'left_eye'), ('nose', 'right_eye'), ('head_top', 'nose')),
)

_MIDDLE = {
    'pelvis': 0.0, 'spine1': 0.15, 'spine2': 0.23, 'spine3': 0.36, 'neck': 0.54, 'thorax': 0.54, 'nose': 0.65,
    'head': 0.66, 'head_top': 0.8,
}  # fmt: skip
_LEFT = {
    'hip': (0.11, -0.02), 'knee': (0.14, -0.39), 'ankle': (0.17, -0.83), 'foot': (0.19, -0.89), 'collar': (0.05, 0.47),
    'shoulder': (0.18, 0.45), 'elbow': (0.32, 0.22), 'wrist': (0.38, -0.02), 'hand': (0.4, -0.1), 'eye': (0.03, 0.68),
    'ear': (0.07, 0.66),
}  # fmt: skip
NEUTRAL: Mapping[str, tuple[float, float]] = {
    **{name: (0.0, up) for name, up in _MIDDLE.items()},
    **{f'left_{name}': place for name, place in _LEFT.items()},
    **{f'right_{name}': (-across, up) for name, (across, up) in _LEFT.items()},
}
"""Joints of a person who faces the camera, head up, arms beside the body: x to the person's left, y up, metres."""
HEIGHT = 1.8
"""Metres of the neutral skeleton that fill the side of a person's box."""
FRAME_SHARE = 0.9
"""Of the shorter side of the image, taken as the side of the box where nobody was found."""


def bones(joints: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of these joints that a line connects."""
    if 'spine1' in joints:
        pairs = [(SMPL_24[parent], name) for name, parent in zip(SMPL_24, PARENTS_24) if parent >= 0]
    else:
        limbs = [(f'{side}_{a}', f'{side}_{b}') for side in ('left', 'right') for a, b in _LIMBS]
        pairs = [*limbs, *_ACROSS]
        if 'thorax' not in joints:
            pairs.append(('left_shoulder', 'right_shoulder'))
    return [pair for pair in pairs if pair[0] in joints and pair[1] in joints]


def template(joints: Sequence[str], box: PersonBox | None, width: int, height: int) -> dict[str, tuple[float, float]]:
    """
    Return where the neutral skeleton has these joints (image x, y), inside the image.

    It stands upright in the person's box, which may be turned, or in the middle of the image. Joints that it does not
    know are left out.
    """
    box = box or PersonBox(width / 2, height / 2, FRAME_SHARE * min(width, height))
    scale = box.side / HEIGHT
    placed = {}
    for name in joints:
        if name not in NEUTRAL:
            continue
        across, up = NEUTRAL[name]
        # The box shows the image turned by box.turn: turn back.
        x, y = turn_matrix(-box.turn) @ (scale * across, -scale * up) + (box.center_x, box.center_y)
        placed[name] = (round(float(x.clip(0.5, width - 0.5)), 2), round(float(y.clip(0.5, height - 0.5)), 2))
    return placed
