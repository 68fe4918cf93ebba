"""
Bags of ROS 1 and ROS 2 through the `rosbags` library, which needs no ROS installation: read, paired by stamp, written.

A bag is read twice: first the stamps alone, which says whether it holds what it claims and which images make a frame,
then the images. rosbags skips topics whose declarations in metadata.yaml and storage differ, so counts are compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import TYPE_CHECKING, Any

from hwhup_core.errors import AssetError, ConfigError, FrameError
from hwhup_ros.stamp_pairs import Pairing, pair_by_stamp, zero_stamp

if TYPE_CHECKING:
    from hwhup_core.types import Frame

MAX_SKEW_NS = 20_000_000
"""Colour and depth of a bag belong together when their stamps differ by no more than this."""
BAG_SUFFIXES = ('.bag', '.mcap', '.db3')
SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class BagTopics:
    """Topics to read from a bag; empty = the only one that fits."""

    image: str = ''
    depth: str = ''
    camera_info: str = ''


@dataclass(frozen=True)
class BagFrame:
    """The messages of one frame, not decoded yet."""

    stamp_ns: int
    """Of the colour image, or of the only one."""
    skew_ns: int
    """Stamp of depth minus stamp of colour; 0 for a single image."""
    image: Any
    """sensor_msgs/Image or CompressedImage, None without colour."""
    depth: Any
    info: Any
    """sensor_msgs/CameraInfo that came last before them, or the first of the bag."""


@dataclass(frozen=True)
class Survey:
    """What a bag holds, found by reading all of it."""

    counts: Mapping[str, int]
    """Messages by topic, of the topics that are read; the same as declared."""
    pairing: Pairing
    info: Any
    """The first camera info."""


def is_bag(path: Path) -> bool:
    """Return whether a path looks like a bag."""
    return path.suffix in BAG_SUFFIXES or (path / 'metadata.yaml').is_file()


class BagRecording:
    """Colour and depth images of a bag, paired by stamp."""

    has_stamps = True

    def __init__(self, path: Path, topics: BagTopics, max_skew_ns: int = MAX_SKEW_NS) -> None:
        """Choose the topics; raises ConfigError where they are ambiguous and AssetError where the bag is not whole."""
        self.path = path
        self._max_skew_ns = max_skew_ns
        with bag_reader(path) as reader:
            self.declared = _declared_counts(path, reader)
            types = {connection.topic: connection.msgtype for connection in reader.connections}
        self.topics = choose_topics(path, types, topics)
        self._wanted = tuple(filter(None, (self.topics.image, self.topics.depth, self.topics.camera_info)))
        for topic in self._wanted:
            if not self.declared[topic]:
                raise AssetError(f'{path} has no message on {topic}, expected at least one. Record it again.')
        self.frame_count = min(self.declared[topic] for topic in (self.topics.image, self.topics.depth) if topic)

    def survey(self) -> Survey:
        """Read the stamps of all images; a bag that holds other counts than it declares raises AssetError."""
        stamps: dict[str, list[int]] = {topic: [] for topic in self._wanted}
        info = None
        with bag_reader(self.path) as reader:
            for topic, raw, connection in _messages(self.path, reader, self._wanted):
                stamps[topic].append(_raw_stamp(raw, reader.is2))
                if info is None and topic == self.topics.camera_info:
                    info = _camera_info(reader, raw, connection, self.path)
        counts = {topic: len(found) for topic, found in stamps.items()}
        for topic, found in counts.items():
            if found != self.declared[topic]:
                raise _disagreement(self.path, topic, self.declared[topic], found)
        return Survey(counts, self._paired(stamps), info)

    def _paired(self, stamps: Mapping[str, list[int]]) -> Pairing:
        image, depth = self.topics.image, self.topics.depth
        if image and depth:
            return pair_by_stamp((image, stamps[image]), (depth, stamps[depth]), self._max_skew_ns)
        only = image or depth
        order = sorted((stamp, place) for place, stamp in enumerate(stamps[only]) if stamp)
        pairs = tuple((place, None) if image else (None, place) for _, place in order)
        return Pairing(pairs, tuple(zero_stamp(only) for stamp in stamps[only] if not stamp))

    def frames(self) -> Iterator[Frame | FrameError]:
        """See `recordings.Recording.frames`; what makes no frame comes first."""
        survey = self.survey()
        yield from survey.pairing.refused
        for messages in self.bag_frames(survey):
            try:
                yield messages if isinstance(messages, FrameError) else decoded(messages)
            except FrameError as error:
                yield error

    def bag_frames(self, survey: Survey) -> Iterator[BagFrame | FrameError]:
        """Read the frames in the order of their stamps, one for each pair; a message without sense is its error."""
        pairs = survey.pairing.pairs
        place_of = [
            {(topic, place): number for number, pair in enumerate(pairs) if (place := pair[side]) is not None}
            for side, topic in enumerate((self.topics.image, self.topics.depth))
        ]
        number_of = {**place_of[0], **place_of[1]}
        places = dict.fromkeys(self._wanted, 0)
        half: dict[int, dict[str, Any]] = {}
        whole: dict[int, BagFrame | FrameError] = {}
        info, due = survey.info, 0
        with bag_reader(self.path) as reader:
            for topic, raw, connection in _messages(self.path, reader, self._wanted):
                if topic == self.topics.camera_info:
                    info = _camera_info(reader, raw, connection, self.path)
                    continue
                number = number_of.get((topic, places[topic]))
                places[topic] += 1
                if number is None:
                    continue
                half.setdefault(number, {})[topic] = _deserialized(reader, raw, connection)
                if len(half[number]) == sum(each is not None for each in pairs[number]):
                    whole[number] = self._joined(half.pop(number), info)
                while due in whole:
                    yield whole.pop(due)
                    due += 1

    def _joined(self, messages: Mapping[str, Any], info: Any) -> BagFrame | FrameError:
        for message in messages.values():
            if isinstance(message, FrameError):
                return message
        image, depth = messages.get(self.topics.image), messages.get(self.topics.depth)
        first = depth if image is None else image
        skew = 0 if image is None or depth is None else _stamp_ns(depth) - _stamp_ns(image)
        return BagFrame(_stamp_ns(first), skew, image, depth, info)


def decoded(messages: BagFrame) -> Frame:
    """Return the frame in a group of messages; raises FrameError. Safe in several threads."""
    from hwhup_core.types import Frame
    from hwhup_ros import compressed, conversions, images

    color, depth = messages.image, messages.depth
    to_color = compressed.decompress_color if hasattr(color, 'format') else images.to_color
    to_depth = compressed.decompress_depth if hasattr(depth, 'format') else images.to_depth
    pictures = {
        'color': None if color is None else to_color(color),
        'depth': None if depth is None else to_depth(depth),
    }
    camera = conversions.to_intrinsics(messages.info)
    for name, picture in pictures.items():
        if picture is not None and picture.shape[:2] != (camera.height, camera.width):
            raise FrameError(
                'size_mismatch',
                f'{name} is {picture.shape[1]}x{picture.shape[0]}, its camera info says '
                f'{camera.width}x{camera.height}. Choose the depth topic that is registered to colour.',
            )
    frame_id = (depth if color is None else color).header.frame_id
    return Frame(messages.stamp_ns, frame_id, intrinsics=camera, **pictures)


def choose_topics(path: Path, types: Mapping[str, str], given: BagTopics) -> BagTopics:
    """Return the topics to read, from the message type of each; raises ConfigError where that is not clear."""
    images = [topic for topic, kind in types.items() if kind.endswith(('/Image', '/CompressedImage'))]
    depth = given.depth or _only([topic for topic in images if 'depth' in topic.lower()], path, 'depth', required=False)
    others = [topic for topic in images if 'depth' not in topic.lower()]
    image = given.image or _only(others, path, 'image', required=not depth)
    infos = [topic for topic, kind in types.items() if kind.endswith('/CameraInfo')]
    if len(infos) > 1:  # The one beside the colour image is the camera that depth is registered to.
        beside = [topic for topic in infos if (image or depth).startswith(topic.rsplit('/', 1)[0] + '/')]
        infos = beside or infos
    info = given.camera_info or _only(infos, path, 'camera_info', required=True)
    for topic in filter(None, (image, depth, info)):
        if topic not in types:
            raise ConfigError(f'{path} has no topic {topic}. It has: {", ".join(sorted(types))}.')
    return BagTopics(image, depth, info)


def _only(topics: list[str], path: Path, role: str, *, required: bool) -> str:
    if len(topics) == 1 or (not topics and not required):
        return topics[0] if topics else ''
    listed = ', '.join(sorted(topics)) or 'none'
    raise ConfigError(
        f'{path} has {len(topics)} topics that could be `{role}` ({listed}); name one (bag_{role} of the replay node, '
        f'--{role.replace("_", "-")} of `hwhup recording import`).'
    )


@contextmanager
def bag_reader(path: Path) -> Iterator[Any]:
    """Open any kind of bag and close it at the end."""
    try:
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_typestore
    except ImportError as error:
        raise _not_installed() from error
    try:
        # A bag that was recorded without its message definitions is read as one of this distribution.
        reader = AnyReader([path], default_typestore=get_typestore(Stores.ROS2_JAZZY))
        reader.open()
    except Exception as error:  # rosbags lets errors of its storages and decompressors through.
        raise AssetError(f'{path} is not a bag that can be read: {error}. Copy or record it again.') from error
    try:
        yield reader
    finally:
        reader.close()


def _not_installed() -> AssetError:
    return AssetError('Bags need the rosbags library. Install it: pip install rosbags.')


def _declared_counts(path: Path, reader: Any) -> dict[str, int]:
    """Return how many messages each topic has by metadata.yaml or index; where both speak they have to agree."""
    counts = {topic: sum(each.msgcount for each in info.connections) for topic, info in reader.topics.items()}
    if not reader.is2:
        return {topic: info.msgcount for topic, info in reader.topics.items()}
    stored: dict[str, int] = {}
    for one in reader.readers:
        for storage in getattr(one.storage, 'storages', ()):
            for each in storage.connections:
                stored[each.topic] = stored.get(each.topic, 0) + each.msgcount
        if getattr(one.storage, 'storages', ()) and sum(counts.values()) != one.message_count:
            raise _disagreement(path, 'all topics together', one.message_count, sum(counts.values()))
    for topic in sorted(stored.keys() | counts.keys()) if stored else ():
        if stored.get(topic, 0) != counts.get(topic, 0):
            raise _disagreement(path, topic, counts.get(topic, 0), stored.get(topic, 0))
    return counts


def _disagreement(path: Path, topic: str, declared: int, found: int) -> AssetError:
    return AssetError(
        f'{path} declares {declared} messages on {topic} and holds {found} that can be read. It is cut off or its '
        'metadata are of another bag: copy it again, or rebuild the metadata with `ros2 bag reindex`.'
    )


def _messages(path: Path, reader: Any, topics: tuple[str, ...]) -> Iterator[tuple[str, bytes, Any]]:
    """Yield topic, content and connection of each message, in the order in which they were recorded."""
    chosen = [connection for connection in reader.connections if connection.topic in topics]
    try:
        for connection, _, raw in reader.messages(connections=chosen):
            yield connection.topic, raw, connection
    except Exception as error:  # See bag_reader.
        raise AssetError(f'{path} breaks off: {error}. Copy or record it again.') from error


def _deserialized(reader: Any, raw: bytes, connection: Any) -> Any:
    """Return the message, or the FrameError that says why it is none."""
    try:
        return reader.deserialize(raw, connection.msgtype)
    except Exception as error:  # Generated code: whatever broken bytes lead to.
        return FrameError('bad_message', f'{len(raw)} bytes on {connection.topic} are no message: {error}.')


def _camera_info(reader: Any, raw: bytes, connection: Any, path: Path) -> Any:
    """Return the camera info with the names of ROS 2; ROS 1 writes D, K, R, P."""
    message = _deserialized(reader, raw, connection)
    if isinstance(message, FrameError):
        raise AssetError(f'{path}: {message}') from message
    return SimpleNamespace(**{name.lower(): value for name, value in vars(message).items()})


def _raw_stamp(raw: bytes, is2: bool) -> int:
    """Return the stamp (ns) at the start of a serialized message that starts with a header."""
    # CDR: representation (4 bytes, the second is 1 for little endian), then the stamp. ROS 1: a 4-byte counter.
    order = 'little' if not is2 or raw[1:2] == b'\x01' else 'big'
    return int.from_bytes(raw[4:8], order) * SECOND_NS + int.from_bytes(raw[8:12], order)  # type: ignore[arg-type]


def _stamp_ns(message: Any) -> int:
    return int(message.header.stamp.sec) * SECOND_NS + int(message.header.stamp.nanosec)


class McapBag:
    """A new rosbag2 bag in MCAP with its message definitions. Use it in a `with`."""

    def __init__(self, path: Path, compress: bool = True) -> None:
        """Begin the bag, compressed by zstd or not; raises ConfigError where something lies there already."""
        try:
            from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer, WriterError
            from rosbags.typesys import Stores, get_typestore
        except ImportError as error:
            raise _not_installed() from error
        self._store = get_typestore(Stores.ROS2_JAZZY)
        try:
            self._writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
        except WriterError as error:
            raise ConfigError(f'{path} is there already. Export to a new folder.') from error
        if compress:
            self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._connections: dict[str, Any] = {}

    def type(self, name: str) -> Any:
        """Return the class of a message, such as sensor_msgs/msg/Image."""
        return self._store.types[name]

    def write(self, topic: str, stamp_ns: int, message: Any) -> None:
        """Append a message that was received at its stamp."""
        kind = message.__msgtype__
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(topic, kind, typestore=self._store)
        self._writer.write(self._connections[topic], stamp_ns, self._store.serialize_cdr(message, kind))

    def __enter__(self) -> McapBag:
        self._writer.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.__exit__(kind, error, trace)
