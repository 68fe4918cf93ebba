"""
What weights must answer before a node may use them: one made-up frame, and the answer that was noted at deployment.

The frame shows the body of the weights, lying in its mean pose before a flat wall. How good the answer is does not
matter here; it must be finite, carry the right hash, and be the same on every machine within a millimetre or two.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from hwhup_core.errors import AssetError, HwhupError
from hwhup_core.inference.engine import Engine
from hwhup_core.networks.packing import Modality
from hwhup_core.render.depth import render_depth
from hwhup_core.types import BodyParams, Frame, Intrinsics, PersonBox, State

CAMERA = Intrinsics(fx=300.0, fy=300.0, cx=160.0, cy=120.0, width=320, height=240)
DISTANCE = 1.6
"""Metres from the camera to the body's root."""
WALL = 1.9
TOLERANCE = 0.01
"""Metres between an answer and the noted one: processors round differently, another network answers otherwise."""


@dataclass(frozen=True)
class SelfTest:
    """The answer to the test frame."""

    joints: Float[ndarray, '24 3']
    """Camera frame, metres, root at the origin."""


def check_frame(engine: Engine) -> tuple[Frame, PersonBox]:
    """Return the test frame, in the modalities that the weights read and no other, and the box of its person."""
    body = engine.body
    facing = torch.diag(torch.tensor([1.0, -1.0, -1.0]))  # The camera looks down, SMPL's y is up.
    still = torch.eye(3).expand(1, 23, 3, 3)
    with torch.inference_mode():
        posed = body(BodyParams(facing[None], still, torch.zeros(1, 10)))
        vertices = posed.vertices + torch.tensor([0.0, 0.0, DISTANCE]) - posed.joints[:, :1]
        camera = torch.tensor([[CAMERA.fx, CAMERA.fy, CAMERA.cx, CAMERA.cy]])
        rendered = render_depth(vertices.clone(), body.faces, camera, (CAMERA.height, CAMERA.width))
    depth = torch.where(rendered.mask, rendered.depth, torch.tensor(WALL))[0].numpy().astype(np.float32)
    grey = np.clip(255 * (WALL + 0.3 - depth), 0, 255).astype(np.uint8)
    pictures = {
        Modality.RGB: {'color': np.repeat(grey[..., None], 3, axis=2)},
        Modality.DEPTH: {'depth': depth},
        Modality.INFRARED: {'infrared': grey.astype(np.float32) / 255},
        Modality.PRESSURE: {'pressure': grey.astype(np.float32) / 255},
    }
    # Without depth that they do not read, nothing but the weights decides whether somebody is there.
    frame = Frame(stamp_ns=1, frame_id='self_test', intrinsics=CAMERA)
    for modality in engine.loaded.card.input.modalities:
        frame = replace(frame, **pictures[modality])
    rows, columns = np.nonzero(rendered.mask[0].numpy())
    side = 1.35 * max(np.ptp(rows), np.ptp(columns))
    return frame, PersonBox(float(np.mean([columns.min(), columns.max()])) + 0.5, float(rows.mean()) + 0.5, float(side))


def run_self_test(engine: Engine) -> SelfTest:
    """Return the engine's answer to the test frame; raises AssetError where it cannot be used."""
    frame, box = check_frame(engine)
    name = engine.loaded.card.weights_hash[:12]
    try:
        (answer,) = engine(frame, [box])
    except HwhupError as error:
        raise AssetError(f'Weights {name} failed the self-test: {error}') from error
    if answer.state == State.NO_PERSON or not np.isfinite(answer.joint_positions).all():
        raise AssetError(
            f'Weights {name} failed the self-test: {answer.state.name.lower()}, expected a body. Train them again.'
        )
    if answer.weights_hash != engine.loaded.card.weights_hash:
        raise AssetError(f'The self-test of weights {name} was answered by others, {answer.weights_hash[:12]}.')
    return SelfTest(answer.joint_positions - answer.joint_positions[:1])


def require_same_answer(noted: SelfTest, found: SelfTest) -> None:
    """Raise AssetError where an engine answers otherwise than at deployment."""
    away = float(np.linalg.norm(noted.joints - found.joints, axis=1).max())
    if not away <= TOLERANCE:
        raise AssetError(
            f'The self-test is {1000 * away:.1f} mm away from the answer noted at deployment, expected at most '
            f'{1000 * TOLERANCE:.0f}. Another body, another program or damaged weights: deploy the run again.'
        )
