"""How the loops of the renderer, the synthetic images and the fit are compiled."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """
    Compile a loop at first use and keep the result on disk; without a writable cache it is compiled in every process.

    The function is unwrapped first: the type checkers of the tests wrap it, and numba cannot compile their wrapper.
    """
    options: dict[str, Any] = {'nogil': True, 'error_model': 'numpy'}
    plain = inspect.unwrap(function)
    try:
        loop: Callable[..., Any] = numba.njit(cache=True, **options)(plain)
    except RuntimeError:
        loop = numba.njit(**options)(plain)
    return loop
