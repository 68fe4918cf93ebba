"""`hwhup recording`: look at recordings, check, repair and delete them; bags in and out are handed over to ROS."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timezone
from pathlib import Path

from hwhup_core.cli.handover import hand_over
from hwhup_core.cli.main import EXIT_FINE, EXIT_PARTLY
from hwhup_core.data.recording import CheckReport, check_recording, open_recording, repair_recording
from hwhup_core.data.recording_card import FrameRecord, RecordingCard
from hwhup_core.data.retention import delete_recording, expiry, survey_retention
from hwhup_core.errors import HwhupError
from hwhup_core.labeling.labels import LabelStore

SHOWN_PROBLEMS = 10
MEGABYTE = 1e6
BAG_PACKAGES = ('sensor_msgs', 'hwhup_ros', 'rosbags')
"""What reading and writing bags needs."""


def check(folder: Path) -> int:
    """Read every frame and print what is wrong: exit code 0 nothing, 1 something is to be repaired."""
    report = check_recording(folder)
    print(f'{folder}: {report.indexed} frames in the index, {report.readable} readable')
    if report.in_use:
        print('a recorder is writing to it: the frame being written is left out')
    _print_problems(report)
    if not report.ok:
        print(f'repair it: hwhup recording repair {folder}')
    return EXIT_FINE if report.ok else EXIT_PARTLY


def _print_problems(report: CheckReport) -> None:
    for reason, count in report.counts.most_common():
        print(f'{reason}: {count}')
        shown = [message for each, message in report.problems if each == reason][:SHOWN_PROBLEMS]
        for message in shown:
            print(f'  {message}')
        if count > len(shown):
            print(f'  ... and {count - len(shown)} more')


def repair(folder: Path) -> int:
    """Take out of the index what cannot be read; nothing is deleted."""
    report = repair_recording(folder)
    print(f'{folder}: {report.kept} frames in the index')
    for reason, count in Counter(report.dropped_lines).most_common():
        print(f'taken out of the index, {reason}: {count}')
    if report.moved:
        print(f'moved to orphans/: {len(report.moved)} files')
    return EXIT_FINE


def info(folder: Path) -> int:
    """Print the card and what the index says; no picture is read."""
    recording = open_recording(folder)
    frames = recording.frames
    size = sum(file.size for record in frames for file in record.files.values())
    print(f'{folder}: {len(frames)} frames, {size / MEGABYTE:.1f} MB')
    for line in _card_lines(recording.card) + _span_lines(frames) + _label_lines(folder):
        print(line)
    return EXIT_FINE


def _card_lines(card: RecordingCard) -> list[str]:
    camera = card.intrinsics
    lens = '' if camera is None else f', {camera.width}x{camera.height}, fx {camera.fx:.1f}, {camera.distortion_model}'
    lines = {
        'camera': f'{card.camera} ({card.frame_id}){lens}',
        'stored': ', '.join(f'{name} as {getattr(card, name)}' for name in card.stored()),
        'privacy': card.privacy,
        'delete after': _expiry_text(card),
        'created': card.created,
        'cover': card.cover,
        'operator': card.operator,
        'consent': card.consent,
        'software': card.software,
        'weights': card.model_hash,
        'source': card.source,
        'not kept': ', '.join(f'{count} {reason}' for reason, count in sorted(card.rejected.items())),
    }
    return [f'{name}: {value}' for name, value in lines.items() if value]


def _expiry_text(card: RecordingCard) -> str:
    try:
        end = expiry(card)
    except HwhupError as error:
        return f'unknown. {error}'
    return 'never' if end is None else end.isoformat(timespec='minutes')


def _span_lines(frames: tuple[FrameRecord, ...]) -> list[str]:
    if not frames:
        return []
    stamps = [record.stamp_ns for record in frames]
    seconds = (max(stamps) - min(stamps)) / 1e9
    start = datetime.fromtimestamp(min(stamps) / 1e9, timezone.utc).isoformat(timespec='seconds')
    kinds = Counter(name for record in frames for name in record.files)
    postures = Counter(str((record.metadata.get('estimate') or {}).get('posture', 'none')) for record in frames)
    return [
        f'time: {seconds:.1f} s from stamp {min(stamps) / 1e9:.3f} s ({start})',
        'pictures: ' + ', '.join(f'{count} {name}' for name, count in sorted(kinds.items())),
        'postures: ' + ', '.join(f'{count} {name.lower()}' for name, count in postures.most_common()),
    ]


def _label_lines(folder: Path) -> list[str]:
    counts = Counter((label.source, label.status) for label in LabelStore(folder).current().values())
    parts = [f'{count} {source} {status}' for (source, status), count in sorted(counts.items())]
    return ['labels: ' + ', '.join(parts)] if parts else []


def purge(root: Path, dry_run: bool) -> int:
    """Delete the recordings below a folder whose time is over; with `dry_run` only list them."""
    report = survey_retention(root)
    faults = [(each.folder, each.fault) for each in report.kept if each.fault]
    for each in report.expired:
        what = f'{each.folder}: {each.frames} files of frames, {each.size / MEGABYTE:.1f} MB, expired {each.expired:%F}'
        try:
            if not dry_run:
                delete_recording(each)
        except HwhupError as error:
            faults.append((each.folder, str(error)))
            continue
        print(f'{"would delete" if dry_run else "deleted"} {what}')
        if each.foreign:
            print(f'  stays there, not of the recording: {", ".join(each.foreign)}')
    for folder, fault in faults:
        print(f'not deleted {folder}: {fault}')
    print(f'{len(report.expired)} expired, {len(report.kept)} not, {len(faults)} not deleted for a fault')
    return EXIT_PARTLY if faults else EXIT_FINE


def import_bag(arguments: list[str]) -> int:
    """Hand the arguments over to the program that reads bags."""
    return hand_over('Reading a bag', 'hwhup_ros.bag_import', arguments, needed=BAG_PACKAGES)


def export(folder: Path, out: Path, form: str, raw: bool) -> int:
    """Write a recording as a bag, or all its pictures and labels for a labelling tool."""
    if form != 'mcap':
        from hwhup_core.cli import label

        return label.export(folder, out, form, True)
    arguments = [str(folder), str(out), *(['--raw'] if raw else [])]
    return hand_over('Writing a bag', 'hwhup_ros.bag_export', arguments, needed=BAG_PACKAGES)
