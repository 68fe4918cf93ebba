"""
A bag into a recording: the same gates, novelty filter, privacy and writers as the recorder, but the bag waits for them.

Every image of the bag is accounted for: messages that the bag declares = messages read = images in frames + images
refused, and frames = written + refused by reason. JPEG images and 16UC1 PNG depth go over byte for byte where privacy
leaves them as they are.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from hwhup_core import __version__
from hwhup_core.config_io import load_config
from hwhup_core.data.recording import open_recording
from hwhup_core.data.recording_card import RecordingCard
from hwhup_core.errors import AssetError, ConfigError, FrameError, HwhupError
from hwhup_core.inference.config import EngineConfig
from hwhup_core.inference.engine import Engine, build_engine
from hwhup_core.recording.config import PRIVACY, GateConfig, NoveltyConfig, RecorderConfig
from hwhup_core.recording.session import RecordingSession
from hwhup_core.recording.tally import Counts, Outcome
from hwhup_core.types import BodyEstimate, Frame
from hwhup_ros.bags import BagFrame, BagRecording, BagTopics, Survey, decoded
from hwhup_ros.compressed import PNG_START

DECODERS = 2
"""Threads that decode images while others encode."""
AHEAD = 8
"""Frames that are decoded ahead of the gates."""
JPEG_START = b'\xff\xd8'
NO_GATES = GateConfig(max_skew_s=10.0, least_depth=0.0, max_holes=1.0, least_sharpness=0.0, exposure=(0.0, 255.0))
EXIT_FINE, EXIT_PARTLY, EXIT_WRONG = 0, 1, 2


@dataclass(frozen=True)
class ImportRequest:
    """What is imported, and how."""

    bag: Path
    out: Path
    """New folder of the recording."""
    topics: BagTopics = field(default_factory=BagTopics)
    config: RecorderConfig = field(default_factory=lambda: RecorderConfig(novelty=NoveltyConfig(enabled=False)))
    """Images whose stamps differ by more than `gates.max_skew_s` are not paired."""
    weights: str = ''
    """Depth weights that look for the head to blur; empty: none are needed."""
    body: str = 'infant'
    """Of the weights."""
    cover: str = 'unknown'
    operator: str = ''
    consent: str = ''
    retention_days: float | None = None
    """The last four stand in the card."""


@dataclass(frozen=True)
class ImportReport:
    """What became of the images of a bag."""

    messages: Mapping[str, int]
    """By topic: declared by the bag, and as many were read."""
    frames: int
    """Groups of messages that belong together."""
    counts: Counts
    """Of frames and of images that make none."""
    uncoloured: int
    """Written frames whose colour was left out because the head was not known for sure."""

    @property
    def written(self) -> int:
        """Return the frames in the recording."""
        return self.counts.outcomes[Outcome.WRITTEN]


@dataclass(frozen=True)
class _Ready:
    """A decoded frame."""

    frame: Frame
    skew_s: float
    stored: Mapping[str, bytes]
    """Pictures that are encoded already as recordings have them, by modality."""


def import_bag(request: ImportRequest) -> ImportReport:
    """Write a bag's frames to a new recording; AssetError, and nothing written, for one that is not as declared."""
    bag = BagRecording(request.bag, request.topics, round(request.config.gates.max_skew_s * 1e9))
    survey = bag.survey()
    if not survey.pairing.pairs:
        raise AssetError(_nothing(request.bag, survey, Counter(error.reason for error in survey.pairing.refused)))
    first = _first(bag, survey)
    engine = build_engine(EngineConfig(weights=request.weights, body=request.body)) if request.weights else None
    card = _card(request, bag, first, engine)
    with RecordingSession(request.out, card, request.config) as session:
        for error in survey.pairing.refused:
            _refuse(session, error)
        progress = tqdm(total=len(survey.pairing.pairs), unit='frame', disable=None, leave=False)
        for ready in _decode_all(bag, survey, card):
            _offer(session, ready, engine)
            progress.update()
        progress.close()
    report = ImportReport(survey.counts, len(survey.pairing.pairs), session.tally.counts(), _uncoloured(request, first))
    _require_balance(request.bag, bag, survey, report, session.status().full)
    return report


def _first(bag: BagRecording, survey: Survey) -> _Ready:
    """Return the first frame that can be decoded: camera and encodings of the recording are its."""
    errors: Counter[str] = Counter(error.reason for error in survey.pairing.refused)
    for messages in bag.bag_frames(survey):
        try:
            if isinstance(messages, FrameError):
                raise messages
            return _ready(messages)
        except FrameError as error:
            errors[error.reason] += 1
            last = str(error)
    raise AssetError(f'{_nothing(bag.path, survey, errors)} The last one: {last}')


def _nothing(path: Path, survey: Survey, reasons: Mapping[str, int]) -> str:
    found = ', '.join(f'{count} on {topic}' for topic, count in survey.counts.items())
    why = ', '.join(f'{count} {reason}' for reason, count in reasons.items())
    return f'{path} gives no frame, expected at least one. Messages: {found}. Refused: {why or "none"}.'


def _card(request: ImportRequest, bag: BagRecording, first: _Ready, engine: Engine | None) -> RecordingCard:
    frame = first.frame
    raw_color: Any = 'png' if first.stored.get('color', b'').startswith(PNG_START) else 'jpeg'
    return RecordingCard(
        camera=bag.topics.image or bag.topics.depth,
        frame_id=frame.frame_id,
        intrinsics=frame.intrinsics,
        color='none' if frame.color is None else raw_color,
        depth='none' if frame.depth is None else 'png',
        up=None,
        cover=request.cover,
        operator=request.operator,
        consent=request.consent,
        retention_days=request.retention_days,
        software=__version__,
        model_hash='' if engine is None else engine.loaded.card.weights_hash,
        source=str(request.bag),
    )


def _decode_all(bag: BagRecording, survey: Survey, card: RecordingCard) -> Iterator[_Ready | FrameError]:
    """Decode side by side and yield in order; holds `AHEAD` frames at most."""
    coming: deque[Future[_Ready | FrameError]] = deque()
    with ThreadPoolExecutor(DECODERS, thread_name_prefix='decoder') as pool:
        for messages in bag.bag_frames(survey):
            coming.append(pool.submit(_try_ready, messages, card))
            if len(coming) >= AHEAD:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()


def _try_ready(messages: BagFrame | FrameError, card: RecordingCard) -> _Ready | FrameError:
    if isinstance(messages, FrameError):
        return messages
    try:
        ready = _ready(messages)
    except FrameError as error:
        return error
    suits = {'jpeg': JPEG_START, 'png': PNG_START}
    color = ready.stored.get('color', b'')
    if color and not color.startswith(suits.get(card.color, b'?')):
        return replace(ready, stored={name: each for name, each in ready.stored.items() if name != 'color'})
    return ready


def _ready(messages: BagFrame) -> _Ready:
    """Decode a frame and keep what is encoded already; raises FrameError."""
    frame = decoded(messages)
    stored = {'color': _stored_color(messages.image), 'depth': _stored_depth(messages.depth)}
    return _Ready(frame, messages.skew_ns / 1e9, {name: each for name, each in stored.items() if each})


def _stored_color(message: Any) -> bytes:
    """Return JPEG or PNG that a recording can keep; empty for raw images and for JPEG that says it is turned."""
    if not hasattr(message, 'format'):
        return b''
    encoded = bytes(message.data)
    return encoded if encoded.startswith((JPEG_START, PNG_START)) and b'Exif' not in encoded[:64] else b''


def _stored_depth(message: Any) -> bytes:
    """Return the PNG of compressed 16UC1 depth, whose unit is the millimetre, too; empty for all else."""
    if not hasattr(message, 'format') or message.format.startswith('32FC1'):
        return b''
    encoded = bytes(message.data)
    return encoded[max(encoded[:64].find(PNG_START), 0) :]


def _offer(session: RecordingSession, ready: _Ready | FrameError, engine: Engine | None) -> None:
    if isinstance(ready, FrameError):
        _refuse(session, ready)
        return
    session.wait_for_room()
    session.offer(ready.frame, ready.skew_s, _estimates(engine, ready.frame), ready.stored)


def _estimates(engine: Engine | None, frame: Frame) -> list[BodyEstimate]:
    """Return who is in the frame; nobody where it cannot be said, and then the colour is not stored."""
    try:
        return engine(frame) if engine is not None else []
    except FrameError:
        return []


def _refuse(session: RecordingSession, error: FrameError) -> None:
    session.tally.arrive()
    session.tally.settle(Outcome.REJECTED, error.reason)


def _uncoloured(request: ImportRequest, first: _Ready) -> int:
    if first.frame.color is None or request.config.privacy != 'head_blurred':
        return 0
    return sum('color' not in record.files for record in open_recording(request.out).frames)


def _require_balance(path: Path, bag: BagRecording, survey: Survey, report: ImportReport, full: str) -> None:
    """Raise unless every image of the bag is accounted for, something was written, and the disk was not full."""
    sides = (bag.topics.image, bag.topics.depth)
    images = sum(survey.counts[topic] for topic in sides if topic)
    in_frames = sum(place is not None for pair in survey.pairing.pairs for place in pair)
    settled = sum(report.counts.outcomes.values())
    expected = report.frames + len(survey.pairing.refused)
    if images != in_frames + len(survey.pairing.refused) or settled != expected:
        raise HwhupError(
            f'{path} declares {images} images: {in_frames} are in frames, {len(survey.pairing.refused)} were refused; '
            f'{settled} of {expected} were settled. They must agree; report this with the bag.'
        )
    if full:
        raise HwhupError(f'{report.written} of {report.frames} frames of {path} were imported. {full}')
    if not report.written:
        raise HwhupError(_nothing(path, survey, report.counts.reasons))


def main(arguments: list[str]) -> int:
    """Run `hwhup recording import` and return the exit code: 0 done, 1 frames were lost, 2 wrong input."""
    try:
        report = import_bag(request_from(_parser().parse_args(arguments)))
    except HwhupError as error:
        print(f'hwhup: error: {error}', file=sys.stderr)
        return EXIT_WRONG
    for topic, count in report.messages.items():
        print(f'{topic}: {count} messages, as the bag declares')
    print(f'frames: {report.frames}, written: {report.written}')
    for reason, count in sorted(report.counts.reasons.items()):
        print(f'  not written, {reason}: {count}')
    if report.uncoloured:
        print(f'  written without colour, head not known for sure: {report.uncoloured}')
    return EXIT_PARTLY if report.counts.outcomes[Outcome.DROPPED] else EXIT_FINE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='hwhup recording import', description=(__doc__ or '').strip())
    parser.add_argument('bag', type=Path, help='folder of a rosbag2, .mcap, .db3, or .bag of ROS 1')
    parser.add_argument('out', type=Path, help='new folder for the recording')
    for name, what in (('image', 'colour'), ('depth', 'depth'), ('camera-info', 'camera info')):
        parser.add_argument(f'--{name}', default='', metavar='TOPIC', help=f'{what} topic (the only one that fits)')
    parser.add_argument(
        '--privacy', choices=PRIVACY, help='what is stored of colour (of --config, else head_blurred); depth stays'
    )
    parser.add_argument('--weights', default='crib_depth', help='find the head for head_blurred (%(default)s)')
    parser.add_argument('--body', default='infant', help='of the weights (%(default)s)')
    parser.add_argument('--config', type=Path, help="YAML of the recorder's gates, novelty and storage")
    parser.add_argument('--novelty', action='store_true', help='leave out frames that show nothing new')
    parser.add_argument(
        '--no-gates', action='store_true', help='keep frames whatever their quality; pairs within 20 ms'
    )
    parser.add_argument('--max-skew', type=float, metavar='SECONDS', help='between colour and depth (0.02)')
    for name in ('cover', 'operator', 'consent'):
        parser.add_argument(f'--{name}', default='unknown' if name == 'cover' else '', help='for the card')
    parser.add_argument('--retention-days', type=float, help='after which `hwhup recording purge` deletes it')
    return parser


def request_from(given: argparse.Namespace) -> ImportRequest:
    """Return the request of parsed arguments."""
    config = load_config(given.config, RecorderConfig) if given.config else RecorderConfig()
    gates = replace(NO_GATES, max_skew_s=config.gates.max_skew_s) if given.no_gates else config.gates
    if given.max_skew is not None:
        gates = replace(gates, max_skew_s=given.max_skew)
    privacy = given.privacy or config.privacy
    if given.retention_days is not None and given.retention_days <= 0:
        raise ConfigError(f'--retention-days is {given.retention_days:g}. Expected more than 0.')
    return ImportRequest(
        bag=given.bag,
        out=given.out,
        topics=BagTopics(given.image, given.depth, given.camera_info),
        config=replace(config, privacy=privacy, gates=gates, novelty=replace(config.novelty, enabled=given.novelty)),
        weights=given.weights if privacy == 'head_blurred' else '',
        body=given.body,
        cover=given.cover,
        operator=given.operator,
        consent=given.consent,
        retention_days=given.retention_days,
    )


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
