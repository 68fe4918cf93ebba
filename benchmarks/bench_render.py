"""Rendered depth of the infant body at 224 x 224, forward and backward, on one core."""

from __future__ import annotations

import time

import numpy as np
import torch
from harness import Row, interleaved

from hwhup_core.body.model import load_body
from hwhup_core.render import naive, numba_backend
from hwhup_core.render.depth import render_depth
from hwhup_core.types import BodyParams

SIZE = (224, 224)
SAMPLE = 8
"""The naive twin runs on every 8th pixel in both directions and is scaled by 64: all pixels would take minutes."""


def rows() -> list[Row]:
    """Return numba against the naive twin, torch against numba, and the numpy entry of the live path."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _measure()
    finally:
        torch.set_num_threads(threads)


def _measure() -> list[Row]:
    vertices, faces = _scene()
    camera = torch.tensor([[400.0, 400.0, 112.0, 112.0]])
    arrays = vertices[0].numpy(), faces.int().numpy(), camera[0].numpy()
    jobs = {
        'numba': lambda: _forward_backward(vertices, faces, camera, 'numba'),
        'torch': lambda: _forward_backward(vertices, faces, camera, 'torch'),
        'buffer': lambda: numba_backend.depth_buffer(*arrays, SIZE),
    }
    # "On one core" is a statement about work, so processor time: it does not grow when others use the machine.
    took = interleaved(jobs, repeats=60, clock=time.process_time)
    slow = (
        interleaved({'naive': lambda: _naive_sample(*arrays)}, repeats=1, clock=time.process_time)['naive'] * SAMPLE**2
    )
    covered = float(render_depth(vertices, faces, camera, SIZE).mask.float().mean())
    scene = f'{vertices.shape[1]} vertices, {len(faces)} faces, {covered:.0%} of the pixels covered'
    return [
        Row(
            name='render depth 224x224 forward + backward, numba vs per-pixel naive',
            ours=took['numba'],
            baseline=slow,
            at_most=2.0,
            ratio_at_least=500.0,
            note=f'{scene}; processor time of one thread; the naive twin ran on 1 of {SAMPLE**2} '
            'pixels and is scaled up.',
        ),
        Row(
            name='render depth 224x224 forward + backward, torch on the CPU vs naive',
            ours=took['torch'],
            baseline=slow,
            note='the same code runs on CUDA.',
        ),
        Row(name='depth buffer 224x224 (numpy entry of the live path)', ours=took['buffer']),
    ]


def _scene() -> tuple[torch.Tensor, torch.Tensor]:
    """Return the resting infant body 0.9 m before the camera, turned a little."""
    body = load_body('infant')
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)))[0]
    eye = torch.eye(3)
    params = BodyParams(eye.expand(1, 3, 3), eye.expand(1, 23, 3, 3), torch.zeros(1, 10))
    with torch.no_grad():
        vertices = body(params).vertices
    centred = vertices - vertices.mean(dim=1, keepdim=True)
    return (centred @ turn + torch.tensor([0.0, 0.0, 0.9])).contiguous(), body.faces


def _forward_backward(vertices: torch.Tensor, faces: torch.Tensor, camera: torch.Tensor, backend: str) -> None:
    moving = vertices.clone().requires_grad_()
    render_depth(moving, faces, camera, SIZE, backend).depth.sum().backward()


def _naive_sample(vertices: np.ndarray, faces: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """Do forward and backward the naive way on the sampled pixels."""
    gradient = np.zeros(vertices.shape)
    corners = vertices.astype(np.float64)[faces]
    for i in range(SAMPLE // 2, SIZE[0], SAMPLE):
        for j in range(SAMPLE // 2, SIZE[1], SAMPLE):
            ray = naive.pixel_ray(camera.astype(np.float64), i, j)
            face = naive.nearest_face(corners, ray)
            if face >= 0:
                gradient[faces[face]] += naive.depth_slope(corners[face], ray)
    return gradient
