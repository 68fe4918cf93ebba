"""SMPLify in the loop, batch 64, 50 + 50 iterations, against the same optimisation through smplx's full mesh."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import torch
from harness import Row, interleaved

from hwhup_core.body.export import to_smplx_struct
from hwhup_core.body.files import read_body_file
from hwhup_core.body.joints import SMPLH_LANDMARKS
from hwhup_core.body.keypoint_sets import keypoint_set, point_map
from hwhup_core.body.model import ASSETS, load_body
from hwhup_core.body.priors import MixturePrior, fit_mixture
from hwhup_core.fitting.config import PRESETS
from hwhup_core.fitting.energies import project_to_crop
from hwhup_core.fitting.naive import naive_fit
from hwhup_core.fitting.smplify import Smplify, pack, unpack
from hwhup_core.geometry.cameras import crop_translation
from hwhup_core.types import Prediction, WeakPerspective

BATCH = 64
SAMPLED = 3
"""Iterations of each stage that the full mesh runs; its time is scaled up to all 50, its set-up counted as well."""
REPEATS = 3
SET = 'spin_49'


def rows() -> list[Row]:
    """Return both back ends against the full mesh and each other; on CUDA, where there is one, the captured fit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [*_against_mesh(), *_on_cuda()]
    finally:
        torch.set_num_threads(threads)


def _against_mesh() -> list[Row]:
    # smplx is for non-commercial research; only tests and this comparison need it.
    import smplx

    struct = smplx.utils.Struct(**to_smplx_struct(read_body_file(ASSETS / 'adult.npz')))
    reference = smplx.SMPL('', data_struct=struct, batch_size=BATCH)
    config, prior = PRESETS['paper'], _prior()
    compiled, eager = (
        Smplify(load_body('adult'), keypoint_set(SET), prior, replace(config, backend=backend))
        for backend in ('compiled', 'eager')
    )
    initial, keypoints = _batch(eager)
    # The same 21 surface points follow the 24 joints in smplx; the COCO key points of our body it does not know.
    mix = point_map(keypoint_set(SET), tuple(SMPLH_LANDMARKS)).mix
    weight = config.weights.prior_weight_at(0)
    first, translation, seen = pack(initial.params), crop_translation(initial.camera), eager.observe(keypoints)
    fewer = replace(config, camera_iterations=SAMPLED, body_iterations=SAMPLED)

    def points(root: torch.Tensor, pose: torch.Tensor, betas: torch.Tensor) -> torch.Tensor:
        return mix @ reference(global_orient=root, body_pose=pose, betas=betas).joints

    took = interleaved(
        {
            'compiled': lambda: compiled.fit(initial, keypoints, weight),
            'eager': lambda: eager.fit(initial, keypoints, weight),
            'mesh': lambda: naive_fit(points, first, translation, seen, prior, fewer, weight),
        },
        repeats=REPEATS,
        clock=time.process_time,
    )
    mesh = took['mesh'] * config.camera_iterations / SAMPLED
    note = (
        f'processor time of one thread; the full mesh ran {SAMPLED} + {SAMPLED} iterations and is scaled up; all give '
        'the same fits to 1e-4 rad (test/core/test_fitting_smplify.py, test_fitting_compiled.py).'
    )
    name = f'SMPLify batch {BATCH}, 50 + 50 iterations'
    return [
        Row(f'{name}, compiled, vs the full mesh of smplx', took['compiled'], baseline=mesh, at_most=60.0, note=note),
        Row(f'{name}, compiled, vs eager', took['compiled'], baseline=took['eager'], ratio_at_least=5.0),
        Row(f'{name}, eager, vs the full mesh of smplx', took['eager'], baseline=mesh, ratio_at_least=12.0),
    ]


def _on_cuda() -> list[Row]:
    if not torch.cuda.is_available():
        return []
    config = PRESETS['paper']
    smplify = Smplify(load_body('adult').cuda(), keypoint_set(SET), _prior().cuda(), config)
    initial, keypoints = _batch(Smplify(load_body('adult'), keypoint_set(SET), _prior(), config))
    initial, keypoints = initial.to('cuda'), keypoints.cuda()

    def run() -> None:
        smplify.fit(initial, keypoints, 4.78)
        torch.cuda.synchronize()

    return [
        Row(name=f'SMPLify batch {BATCH}, 50 + 50 iterations, CUDA graphs', ours=interleaved({'cuda': run})['cuda'])
    ]


def _prior() -> MixturePrior:
    poses = np.random.default_rng(0).normal(size=(600, 69)) * 0.4
    return MixturePrior(fit_mixture(poses, 8, seed=0))


def _batch(smplify: Smplify) -> tuple[Prediction, torch.Tensor]:
    """Return first guesses beside random bodies, and the key points of these."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(BATCH, 82, generator=generator) * 0.3
    guess = unpack(truth + torch.randn(BATCH, 82, generator=generator) * 0.1)
    camera = WeakPerspective(torch.full((BATCH,), 0.9), torch.zeros(BATCH, 2))
    with torch.no_grad():
        pixels = project_to_crop(smplify.points(unpack(truth)), crop_translation(camera))
    return Prediction(guess, camera), torch.cat([pixels, torch.ones_like(pixels[..., :1])], dim=2)
