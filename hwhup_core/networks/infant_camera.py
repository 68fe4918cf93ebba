"""HW-HuP's camera for an infant's body behind a network that learned adults (`if_cam_rct`, method 1.6)."""

from __future__ import annotations

from dataclasses import replace

from hwhup_core.types import WeakPerspective

SMIL_SHIFT_Y = -0.46
"""Metres added to the shift in y, which points down: the body moves up in the picture."""
SMIL_SCALE = 2.75
"""Factor on the scale: an infant that fills the crop as an adult did is so much smaller."""


def rectify_infant_camera(camera: WeakPerspective) -> WeakPerspective:
    """
    Return the camera under which SMIL lands in the crop where SMPL did under `camera`, nearly.

    First the shift, then the scale, as the released code does after the network, in training and evaluation: scale s
    becomes 2.75 s and shift (x, y) becomes (x, y - 0.46) in metres of the infant. The shift in x and y that the
    network gave is not divided by 2.75, so what it says in half crop sides grows by that factor; fine-tuning learns
    that. Only for weights that were trained this way or start from adult ones; weights trained on an infant's body
    from the start (the bundled ones) must not be rectified.
    """
    shift = camera.shift + camera.shift.new_tensor([0.0, SMIL_SHIFT_Y])
    return replace(camera, scale=SMIL_SCALE * camera.scale, shift=shift)
