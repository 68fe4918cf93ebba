"""
Frames that wait for their camera info and for the pose node's answer, handed on in the order in which they came.

Every topic is a queue of its own: the camera info of an image may come after it, and only then is it known whether the
camera is still the same. No node in here.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Any

from hwhup_ros.conversions import SECOND_NS, to_ns
from hwhup_ros.msg import SmplPoseArray
from hwhup_ros.synchronizer import Pair

REMEMBERED = 100
"""Answers that may come before the frame that they answer: other subscriptions are other queues."""

INFO_PATIENCE_S = 0.2
"""How long an image waits for a camera info that is not older; a driver may send one a second, or none again."""


@dataclass(frozen=True)
class Answered:
    """A pair with the answer to it."""

    pair: Pair
    answer: SmplPoseArray | None
    """None where none came in time; an empty array where the pose node could not use the frame."""


class EstimateWait:
    """Keeps pairs until their answer is there, or a later one, or their time is over."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._waiting: deque[tuple[float, Pair]] = deque()
        self._answers: dict[int, SmplPoseArray] = {}
        self._newest_ns = 0

    def add_pair(self, pair: Pair, now: float) -> None:
        """Let a pair wait from `now` on, seconds of a steady clock."""
        self._notice_restart(pair.primary.stamp_ns)
        self._waiting.append((now, pair))

    def add_answer(self, answer: SmplPoseArray) -> None:
        """Remember an answer; one to the same stamp is replaced only by one that has poses."""
        stamp_ns = to_ns(answer.header.stamp)
        self._notice_restart(stamp_ns)
        self._newest_ns = max(self._newest_ns, stamp_ns)
        if answer.poses or stamp_ns not in self._answers:
            self._answers[stamp_ns] = answer
        while len(self._answers) > REMEMBERED:
            del self._answers[next(iter(self._answers))]

    def ready(self, now: float, info: Any, expected: bool) -> list[Answered]:
        """
        Return the pairs that wait no longer, oldest first, with `info`, the newest camera info.

        Without an answer `expected` none waits for one.
        """
        done: list[Answered] = []
        while self._waiting:
            since, pair = self._waiting[0]
            is_old = info is None or to_ns(info.header.stamp) < pair.primary.stamp_ns
            if is_old and now - since < INFO_PATIENCE_S:
                break
            answer = self._answer_to(pair)
            late = now - since >= self._patience_s or self._newest_ns > pair.primary.stamp_ns
            if answer is None and expected and not late:
                break
            self._waiting.popleft()
            done.append(Answered(replace(pair, info=info or pair.info), answer))
        return done

    def flush(self) -> list[Answered]:
        """Return all pairs that wait, with what is known of them."""
        waiting = [pair for _, pair in self._waiting]
        self._waiting.clear()
        return [Answered(pair, self._answer_to(pair)) for pair in waiting]

    def _notice_restart(self, stamp_ns: int) -> None:
        """Forget the answers when stamps jump back, as when a bag starts again."""
        if stamp_ns < self._newest_ns - SECOND_NS:
            self._answers.clear()
            self._newest_ns = 0

    def _answer_to(self, pair: Pair) -> SmplPoseArray | None:
        """Return the answer with the stamp of one of the pair's images: the pose node may go by the depth's."""
        for image in (pair.primary, pair.secondary):
            if image is not None and image.stamp_ns in self._answers:
                return self._answers.pop(image.stamp_ns)
        return None
