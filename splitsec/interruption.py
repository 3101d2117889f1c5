"""Turns signals that ask a process to end into an interruption, so that it ends in order."""

from __future__ import annotations

import signal
import threading
from types import FrameType

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


class Interruption(KeyboardInterrupt):
    """A signal asked the process to end; its text is the signal's name."""


def interrupt_on_signals() -> None:
    """Raise :class:`Interruption` in the main thread at the first signal that asks to end.

    What runs then writes its record, and ends its workers and guests. A second signal ends the
    process at once. A signal that is ignored, as under ``nohup``, stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for name in _NAMES:
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    for name in _NAMES:
        other = getattr(signal, name, None)
        if other is not None and signal.getsignal(other) is _interrupt:
            signal.signal(other, signal.SIG_DFL)
    raise Interruption(signal.Signals(number).name)
