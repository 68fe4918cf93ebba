"""
The weights that a pose node answers with, and how others take their place while it runs.

Nothing here waits for ROS. New weights are loaded and tested in a thread of their own, from memory that nobody else
sees; what the node does with them is one assignment.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Protocol

from hwhup_core.errors import HwhupError
from hwhup_core.inference.drift import DriftAlarm
from hwhup_core.types import BodyEstimate, Frame
from hwhup_ros.frame_builder import FrameBuilder, choose_streams
from hwhup_ros.pose_config import PoseConfig
from hwhup_ros.synchronizer import Streams

PROBATION_FRAMES = 30
"""If new weights raise an error of the program on one of their first frames, the old ones come back."""


class EngineLike(Protocol):
    """What the node asks of an engine; `hwhup_core.inference.Engine` is one."""

    body: Any
    loaded: Any

    def __call__(self, frame: Frame) -> list[BodyEstimate]:
        """Return everybody in the frame, never an empty list: nobody is one estimate of state NO_PERSON."""

    def reset(self) -> None:
        """Forget the last frame."""

    def take_over(self, other: Any) -> None:
        """Follow the person whom another engine followed."""


@dataclass(frozen=True)
class LiveModel:
    """An engine with all that depends on what its weights read."""

    engine: EngineLike
    modalities: frozenset[str]
    streams: Streams
    builder: FrameBuilder
    alarm: DriftAlarm

    @property
    def weights_hash(self) -> str:
        """Return the SHA-256 of the weights."""
        return str(self.engine.loaded.card.weights_hash)


def live_model(engine: EngineLike, config: PoseConfig) -> LiveModel:
    """Return the model of an engine in this node; ConfigError where the node cannot feed it."""
    modalities = frozenset(str(each.value) for each in engine.loaded.card.input.modalities)
    streams = choose_streams(modalities, config.use_image, config.use_depth)
    builder = FrameBuilder(modalities, streams, config.image_transport, config.image_backend)
    return LiveModel(engine, modalities, streams, builder, DriftAlarm(level_of(engine), config.drift))


def level_of(engine: EngineLike) -> float:
    """Return the aligned depth error (m) that the card reports of held-out frames; NaN where it reports none."""
    measured = getattr(engine.loaded.card, 'metrics', {}).get('aligned_depth_error_mm')
    return float('nan') if measured is None else measured.value / 1000


def build(config: PoseConfig) -> EngineLike:
    """Return the engine that the parameters name: bundled or deployed weights, or a file."""
    # Importing torch takes a second; a node with an engine of its own need not wait for it.
    from hwhup_core.deploy.store import resolve
    from hwhup_core.inference import build_engine

    return build_engine(replace(config.engine, weights=str(resolve(config.engine.weights))))


def load(weights: str, config: PoseConfig, present: LiveModel) -> LiveModel:
    """
    Return the model of other weights, of the same body, after its self-test.

    Raises HwhupError where anything is wrong; `present` stays as it is.
    """
    from hwhup_core.deploy.store import load_tested, resolve

    engine = load_tested(resolve(weights), present.engine.body, config.engine)
    return live_model(engine, config)


class ModelSlot:
    """
    Holds the model that answers, and for a while the one before it.

    Read by the worker thread, written by the executor's; both see one model or the other, never a mixture.
    """

    def __init__(self) -> None:
        self.current: LiveModel | None = None
        self._before: LiveModel | None = None
        self._probation = 0

    def put(self, model: LiveModel | None) -> None:
        """Answer with this model; nobody comes back."""
        self.current, self._before = model, None

    def replace(self, model: LiveModel) -> None:
        """Answer with this model, following the same person; the present one comes back if it breaks soon."""
        present = self.current
        assert present is not None
        model.engine.take_over(present.engine)
        self._probation = PROBATION_FRAMES
        self.current, self._before = model, present

    def model_for(self, paired: LiveModel) -> LiveModel:
        """Return who answers a pair: the newest model, if it reads the streams in the roles they were paired in."""
        newest = self.current
        return newest if newest is not None and newest.streams == paired.streams else paired

    def estimate(self, model: LiveModel, frame: Frame, on_rollback: Callable[[Exception], None]) -> list[BodyEstimate]:
        """Return the answer of a model; a new one that breaks on one of its first frames gives way to the old one."""
        before = self._before
        try:
            answer = model.engine(frame)
        except HwhupError:
            raise
        except Exception as error:
            if model is not self.current or before is None or before.streams != model.streams:
                raise
            self.put(before)
            on_rollback(error)
            return before.engine(frame)
        if before is not None and model is self.current:
            self._probation -= 1
            if self._probation <= 0:
                self._before = None
        return answer


class Loader:
    """Loads one model after the other in a thread."""

    def __init__(self, load_model: Callable[[str, LiveModel], LiveModel]) -> None:
        self._load = load_model
        self._thread = ThreadPoolExecutor(1, thread_name_prefix='model_loader')

    async def __call__(self, weights: str, present: LiveModel) -> LiveModel:
        """Return the model, letting the executor work meanwhile."""
        coming: Future[LiveModel] = self._thread.submit(self._load, weights, present)
        await until(coming.done)
        try:
            return coming.result()
        except HwhupError:
            raise
        except Exception as error:
            raise HwhupError(f'Cannot load {weights}: {type(error).__name__}: {error}') from error

    def close(self) -> None:
        """Let the thread end; a model that is being loaded is not used any more."""
        self._thread.shutdown(wait=False, cancel_futures=True)


async def until(condition: Callable[[], bool], timeout: float = 600.0) -> bool:
    """Return True as soon as the condition holds, False after `timeout` seconds; other callbacks run in between."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        await _NextRound()
    return True


class _NextRound(Awaitable[None]):
    """Gives the executor back until its next round, which any message or timer brings about."""

    def __await__(self) -> Generator[None, None, None]:
        yield
