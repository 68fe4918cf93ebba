"""`hwhup predict`: image or folder -> JSON, overlay and mesh for each image."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from hwhup_core.cli.inputs import ImageFileError, list_images, read_frame
from hwhup_core.cli.results import MESH_FRAME, estimate_to_json, intrinsics_to_json, write_json, write_mesh
from hwhup_core.data.camera_file import read_camera_file
from hwhup_core.errors import HwhupError
from hwhup_core.inference import Engine, EngineConfig, build_engine
from hwhup_core.render.picture import depth_to_rgb, draw_skeleton, overlay, side_by_side
from hwhup_core.types import BodyEstimate, Intrinsics, State


@dataclass(frozen=True)
class PredictRequest:
    """The arguments of `hwhup predict`, see its help."""

    input: Path
    depth: Path | None
    camera: Path | None
    out: Path
    body: str
    weights: str
    mesh: str
    region: list[float] | None
    up: list[float] | None
    threads: int


@dataclass(frozen=True)
class Job:
    """One image to answer."""

    image: Path
    depth: Path | None


def predict(request: PredictRequest) -> int:
    """Answer every image; return 0, or 1 when some of a folder failed. A single image that fails raises."""
    jobs = _jobs(request)
    camera = read_camera_file(request.camera)[0] if request.camera else None
    single = not request.input.is_dir()
    if single:  # A wrong file is told before the seconds that loading the network takes.
        read_frame(jobs[0].image, jobs[0].depth, camera)
    engine = build_engine(_engine_config(request))
    if camera is None:
        print(
            'hwhup: warning: no --camera given; a pinhole camera with a 60 degree field of view is assumed. '
            'Positions are in metres only if that is true.',
            file=sys.stderr,
        )
    request.out.mkdir(parents=True, exist_ok=True)
    if single:
        print(_answer(engine, jobs[0], camera, request))
        return 0
    return _answer_folder(engine, jobs, camera, request)


def _answer_folder(engine: Engine, jobs: list[Job], camera: Intrinsics | None, request: PredictRequest) -> int:
    failures: list[str] = []
    for job in tqdm(jobs, unit='image', disable=None):
        try:
            _answer(engine, job, camera, request)
        except HwhupError as error:
            failures.append(f'{job.image.name}: {error}')
    for failure in failures:
        print(f'hwhup: error: {failure}', file=sys.stderr)
    print(f'{len(jobs) - len(failures)} of {len(jobs)} images done, {len(failures)} failed; results in {request.out}')
    return 1 if failures else 0


def _answer(engine: Engine, job: Job, camera: Intrinsics | None, request: PredictRequest) -> str:
    """Write the results of one image and return a line about them."""
    frame = read_frame(job.image, job.depth, camera)
    engine.reset()  # The images of a folder need not follow each other in time.
    estimates = engine(frame)
    assert frame.intrinsics is not None
    content: dict[str, Any] = {
        'image': job.image.name,
        'camera_assumed': camera is None,
        'intrinsics': intrinsics_to_json(frame.intrinsics),
        'mesh_frame': MESH_FRAME,
        'people': [estimate_to_json(estimate) for estimate in estimates],
    }
    stem = request.out / job.image.stem
    write_json(stem.with_name(f'{stem.name}.json'), content)
    present = [estimate for estimate in estimates if estimate.state != State.NO_PERSON]
    _write_overlay(stem.with_name(f'{stem.name}_overlay.png'), engine, frame, present)
    for index, estimate in enumerate(present):
        suffix = '' if index == 0 else f'_{index + 1}'
        write_mesh(
            stem.with_name(f'{stem.name}{suffix}.{request.mesh}'), engine.vertices(estimate), engine.body.faces.numpy()
        )
    return f'{job.image.name}: {_summary(estimates)}; results in {request.out}'


def _write_overlay(path: Path, engine: Engine, frame: Frame, estimates: list[BodyEstimate]) -> None:
    """Write the image beside the same with mesh and joints on it."""
    image = picture_of(frame)
    assert frame.intrinsics is not None
    drawn = image
    for estimate in estimates:
        drawn = overlay(drawn, engine.vertices(estimate), engine.body.faces.numpy(), frame.intrinsics)
        drawn = draw_skeleton(drawn, estimate.joint_pixels, engine.body.parents, estimate.joint_visibility)
    both = side_by_side([image, drawn], [path.stem.removesuffix('_overlay'), 'estimate'])
    if not cv2.imwrite(str(path), both[..., ::-1]):
        raise HwhupError(f'Cannot write {path}. Check the folder and the space on the disk.')


def picture_of(frame: Frame) -> UInt8[ndarray, 'h w 3']:
    """Return something to look at: the colour image, or depth in colours."""
    if frame.color is not None:
        return frame.color
    assert frame.depth is not None
    return depth_to_rgb(frame.depth)


def _summary(estimates: list[BodyEstimate]) -> str:
    lines = []
    for estimate in estimates:
        line = estimate.state.name.lower().replace('_', ' ')
        if estimate.state != State.NO_PERSON:
            line += f', pelvis {estimate.root_position[2]:.2f} m from the camera'
        if np.isfinite(estimate.aligned_depth_error):
            line += f', aligned depth error {estimate.aligned_depth_error * 1000:.0f} mm'
        lines.append(line)
    return '; '.join(lines)


def _jobs(request: PredictRequest) -> list[Job]:
    if not request.input.exists():
        raise ImageFileError(f'There is no file or folder {request.input}.')
    if not request.input.is_dir():
        return [Job(request.input, request.depth)]
    images = list_images(request.input)
    if request.depth is None:
        return [Job(image, None) for image in images]
    if not request.depth.is_dir():
        raise ImageFileError(f'{request.input} is a folder, so --depth must be one, with files of the same names.')
    by_stem = {path.stem: path for path in list_images(request.depth)}
    missing = [image.name for image in images if image.stem not in by_stem]
    if missing:
        raise ImageFileError(f'{request.depth} has no depth for {len(missing)} images, the first is {missing[0]}.')
    return [Job(image, by_stem[image.stem]) for image in images]


def _engine_config(request: PredictRequest) -> EngineConfig:
    region = None if request.region is None else (request.region[0], request.region[1], request.region[2])
    up = None if request.up is None else (request.up[0], request.up[1], request.up[2])
    return EngineConfig(
        weights=request.weights, body=request.body, threads=request.threads, region=region, up_in_camera=up
    )
