"""`hwhup label`: automatic labels, which frames to label next, exchange with labelling tools, the review page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from hwhup_core.cli.main import EXIT_FINE, EXIT_PARTLY
from hwhup_core.data.recording import Recording, open_recording
from hwhup_core.errors import AssetError, ConfigError
from hwhup_core.labeling.exchange import ImportReport, PersonLabel, frame_of, import_people, to_person, write_package
from hwhup_core.labeling.formats import format_of, label_format
from hwhup_core.labeling.label_lock import only_writer
from hwhup_core.labeling.labels import LabelStore
from hwhup_core.types import Frame

if TYPE_CHECKING:
    from hwhup_core.labeling.automatic import LoadedVisNet

SHOWN_MESSAGES = 10
BUNDLED_VISNET = 'visnet_depth'


def auto(
    recording: Path,
    weights: str,
    body: str,
    refine: bool | None,
    visnet: str,
    again: bool,
    limit: int | None,
) -> int:
    """Label what can be labelled, and print the counts. `refine` None: as `AutomaticConfig` has it."""
    from hwhup_core.inference import EngineConfig, build_engine
    from hwhup_core.labeling.automatic import AutomaticConfig, label_recording
    from hwhup_core.labeling.refine import RefineConfig

    if limit is not None and limit < 1:
        raise ConfigError(f'--limit is {limit}. Expected at least 1.')
    open_recording(recording)
    config = AutomaticConfig()
    if refine is not None:
        config = replace(config, refine=RefineConfig() if refine else None)
    engine = build_engine(EngineConfig(weights=weights, body=body))
    report = label_recording(recording, engine, config, _visnet(visnet), again, limit)
    print(f'labelled   {report.labelled:6}  ({report.refined} refined to the depth)')
    print(f'joints     {report.joints:6}  ({report.visible} seen)')
    for reason, count in report.left_out.most_common():
        print(f'left out   {count:6}  {reason}')
    if report.skipped:
        print(f'skipped    {report.skipped:6}  judged before by the same weights; --again judges them anew')
    return EXIT_FINE


def rank(recording: Path, count: int, compare: str | None, body: str) -> int:
    """Print which frames to label by hand next and write the whole order to `labels/ranking.json`."""
    from hwhup_core.labeling.judgements import read_judgements
    from hwhup_core.labeling.rank import rank_frames, write_ranking

    if count < 1:
        raise ConfigError(f'--count is {count}. Expected at least 1.')
    opened = open_recording(recording)
    labels = LabelStore(recording).current()
    differences = None
    if compare is not None:
        from hwhup_core.inference import EngineConfig, build_engine
        from hwhup_core.labeling.disagreement import model_differences

        differences = model_differences(opened, labels, build_engine(EngineConfig(weights=compare, body=body)))
        if not differences:
            raise ConfigError(f'No frame has both a label and what the weights {compare} read. Leave out --compare.')
    ranked = rank_frames(opened, labels, read_judgements(recording), differences)
    print(f'{"":4} {"frame":10} {"score":>6}  why')
    for place, one in enumerate(ranked[:count], 1):
        print(f'{place:4} {one.frame:10} {one.score:6.3f}  {", ".join(one.reasons)}')
    print(f'wrote the order of all {len(ranked)} frames to {write_ranking(recording, ranked)}')
    return EXIT_FINE


def export(recording: Path, out: Path, form: str, everything: bool) -> int:
    """Write pictures and labels as a package of a labelling tool; `everything`: also frames without a label."""
    chosen = label_format(form)
    opened = open_recording(recording)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f'{out} is not an empty folder. Export to a new one.')
    store = LabelStore(recording)
    usable, current = store.usable(), store.current()
    numbers = {record.unit: i for i, record in enumerate(opened.frames)}
    ending = 'jpg' if opened.card.color == 'jpeg' else 'png'
    sizes = frame_sizes(opened)
    people = [to_person(usable[unit], f'{unit}.{ending}', sizes[unit]) for unit in numbers if unit in usable]
    if everything:
        rejected = {unit for unit, label in current.items() if label.status == 'rejected'}
        empty = [unit for unit in numbers if unit not in usable and unit not in rejected]
        people += [_nobody(f'{unit}.{ending}', sizes[unit]) for unit in empty]
    if not people:
        raise ConfigError(f'{recording} has no label. Run `hwhup label auto` first, or export with --all.')
    write_package(out, people, lambda name: picture_of(opened.frame(numbers[frame_of(name, numbers)])), chosen)
    joints = sum(len(person.points) for person in people)
    hidden = sum(not point.visible for person in people for point in person.points.values())
    print(f'wrote {len(people)} pictures and {joints} joints ({hidden} occluded) to {out}')
    return EXIT_FINE


def import_labels(recording: Path, file: Path, form: str | None, assume_visible: bool, skip_bad: bool) -> int:
    """Put the labels of a tool's file into the store, and print the counts."""
    chosen = format_of(file) if form is None else label_format(form)
    opened = open_recording(recording)
    people = chosen.read(file, assume_visible)
    if not people:
        raise AssetError(f'{file} has no labelled joint. Export it again from the labelling tool.')
    with only_writer(recording):
        report = import_people(LabelStore(recording), people, frame_sizes(opened), skip_bad)
    print(f'imported {report.imported} frames, {report.joints} joints, {report.occluded} of them occluded')
    _print_left_out(report)
    return EXIT_PARTLY if report.left_out else EXIT_FINE


def review(recording: Path, port: int, open_browser: bool) -> int:
    """Serve the review page on this machine until it is stopped."""
    from hwhup_core.labeling.review_server import serve_review

    serve_review(recording, port, open_browser, print)
    return EXIT_FINE


def frame_sizes(recording: Recording) -> dict[str, tuple[int, int]]:
    """Return width and height of every frame: the card's, or the pictures' own where it has no camera."""
    camera = recording.card.intrinsics
    if camera is not None:
        return {record.unit: (camera.width, camera.height) for record in recording.frames}
    pictures = (picture_of(recording.frame(i)) for i in range(len(recording)))
    return {record.unit: (picture.shape[1], picture.shape[0]) for record, picture in zip(recording.frames, pictures)}


def picture_of(frame: Frame) -> UInt8[ndarray, 'h w 3']:
    """Return what people label: colour, or without it depth in grey, near bright; else infrared or pressure."""
    if frame.color is not None:
        return frame.color
    if frame.depth is not None:
        return _grey(np.where(frame.depth > 0, -frame.depth, np.nan))
    other = frame.infrared if frame.infrared is not None else frame.pressure
    assert other is not None  # A unit without a picture does not exist.
    return _grey(other)


def _grey(values: Float[ndarray, 'h w']) -> UInt8[ndarray, 'h w 3']:
    """Return values in grey, the middle 98 % over the whole range, unknown ones black."""
    known = np.isfinite(values)
    low, high = np.percentile(values[known], [1, 99]) if known.any() else (0.0, 1.0)
    share = np.clip((np.where(known, values, low) - low) / max(high - low, 1e-6), 0, 1)
    grey = np.where(known, np.rint(30 + 225 * share), 0).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _nobody(picture: str, size: tuple[int, int]) -> PersonLabel:
    return PersonLabel(picture, size[0], size[1], {})


def _print_left_out(report: ImportReport) -> None:
    for reason, count in report.left_out.items():
        print(f'left out {count}: {reason}')
    for message in report.messages[:SHOWN_MESSAGES]:
        print(f'  {message}')


def _visnet(name: str) -> LoadedVisNet | None:
    """Return VisNet; `auto` takes the bundled one where it is there, `none` does without."""
    from hwhup_core.networks.visnet_checkpoint import BUNDLED, load_visnet

    if name == 'none' or (name == 'auto' and not (BUNDLED / f'{BUNDLED_VISNET}.json').is_file()):
        return None
    return load_visnet(BUNDLED_VISNET if name == 'auto' else name)
