"""A one-slot mailbox and the thread that empties it: the newest item wins, the old one is handed back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar('T')


class Mailbox(Generic[T]):
    """Holds at most one item, the newest."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: T | None = None
        self._closed = False

    def put(self, item: T) -> T | None:
        """Leave `item` and return what it pushed out: the older item, None, or `item` itself when closed."""
        with self._changed:
            if self._closed:
                return item
            superseded, self._item = self._item, item
            self._changed.notify()
            return superseded

    def take(self, timeout: float | None = None) -> T | None:
        """Wait for an item and return it; None when the mailbox is closed or `timeout` seconds have passed."""
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None or self._closed, timeout)
            item, self._item = self._item, None
            return None if self._closed else item

    def close(self) -> T | None:
        """Wake the taker for the last time and return the item nobody will take, if there is one."""
        with self._changed:
            self._closed = True
            item, self._item = self._item, None
            self._changed.notify_all()
            return item

    @property
    def closed(self) -> bool:
        """Whether the mailbox takes no more items."""
        with self._changed:
            return self._closed


class Worker(Generic[T]):
    """
    A thread that calls `handle` with the newest item and survives whatever it raises.

    Use as a context manager, or call `start` and `stop`. `on_error` gets the exceptions; `on_superseded` the items that
    were never handled because a newer one came or the worker stopped.
    """

    def __init__(
        self,
        handle: Callable[[T], None],
        on_error: Callable[[T, Exception], None],
        on_superseded: Callable[[T], None],
        name: str = 'worker',
    ) -> None:
        self._handle = handle
        self._on_error = on_error
        self._on_superseded = on_superseded
        self._mailbox: Mailbox[T] = Mailbox()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> Worker[T]:
        """Start the thread."""
        self._thread.start()
        return self

    def stop(self, timeout: float = 10.0) -> bool:
        """Finish the item in hand, drop the waiting one, join; False if the thread did not end within `timeout` s."""
        left_over = self._mailbox.close()
        if left_over is not None:
            self._on_superseded(left_over)
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def submit(self, item: T) -> None:
        """Hand over `item` without waiting."""
        superseded = self._mailbox.put(item)
        if superseded is not None:
            self._on_superseded(superseded)

    def __enter__(self) -> Worker[T]:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        while not self._mailbox.closed:
            item = self._mailbox.take()
            if item is None:
                continue
            try:
                self._handle(item)
            except Exception as error:  # The thread must outlive one bad item; the owner counts and logs it.
                self._on_error(item, error)
