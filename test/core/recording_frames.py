"""Frames and estimates for the tests of the recorder."""

import numpy as np

from hwhup_core.types import BodyEstimate, Frame, Intrinsics, PersonBox, Posture, State

WIDTH, HEIGHT = 96, 72
CAMERA = Intrinsics(90.0, 90.0, 48.0, 36.0, WIDTH, HEIGHT)
SECOND_NS = 10**9


def make_frame(number=0, **changes):
    """Return noise in colour and depth that every gate lets pass, one second after the other."""
    rng = np.random.default_rng(number)
    given = {
        'stamp_ns': 1_700_000_000 * SECOND_NS + number * SECOND_NS,
        'frame_id': 'camera_optical',
        'color': rng.integers(30, 220, (HEIGHT, WIDTH, 3), dtype=np.uint8),
        'depth': rng.integers(500, 3000, (HEIGHT, WIDTH)).astype(np.float32) / np.float32(1000),
        'intrinsics': CAMERA,
    }
    return Frame(**{**given, **changes})


def estimate_of(frame, head=(48.0, 20.0), neck=(48.0, 30.0)):
    """Return a sure estimate, 50 pixels a metre, with head and neck at these pixels."""
    pixels = np.full((24, 2), 48.0)
    pixels[12], pixels[15] = neck, head
    return BodyEstimate(
        stamp_ns=frame.stamp_ns,
        frame_id=frame.frame_id,
        subject_id='subject',
        state=State.ESTIMATED,
        confidence=0.9,
        body_id='body',
        body_hash='b',
        weights_hash='w',
        betas=np.zeros(10, np.float32),
        pose=np.zeros(72, np.float32),
        root_position=np.array([0.0, 0.0, 2.0]),
        root_orientation=np.array([0.0, 0.0, 0.0, 1.0]),
        joint_positions=np.full((24, 3), 1.0),
        joint_orientations=np.tile([0.0, 0.0, 0.0, 1.0], (24, 1)),
        joint_pixels=pixels,
        joint_visibility=np.ones(24),
        joint_confidence=np.ones(24),
        joint_sigma=np.ones(24),
        box=PersonBox(48.0, 36.0, 100.0),
        camera=np.float32([1, 0, 0]),
        posture=Posture.SUPINE,
        aligned_depth_error=0.01,
    )
