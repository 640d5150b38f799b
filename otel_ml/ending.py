"""The end of a process in, one last flush before it out: normal exit, a pool's child, SIGTERM.

Nothing is registered before somebody asks for it, and a signal only where the configuration does.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
import threading
import time
from _thread import allocate_lock, get_ident, start_new_thread
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, TypeAlias

__all__ = ["FLUSH_SECONDS", "at_exit", "on_signals", "release_signals", "seconds", "undisturbed"]

_log = logging.getLogger("otel_ml")

FLUSH_SECONDS: Final = 3.0
"""How long the end of a process may wait for the last export."""

_LONGEST: Final = 3600.0  # seconds anybody may wait
_MARGIN: Final = 0.25  # seconds more for a flush that is about to give up by itself
_LAST: Final = -100  # after the finalizers of others, which may still predict
_ENDING: Final = ("SIGTERM", "SIGHUP")
_A_MOMENT: Final = 0.01  # seconds; longer than what is left of a fork

Flush: TypeAlias = Callable[[float], object]

_registered = False


def seconds(timeout: object) -> float:
    """Return a time to wait, an hour at most; three seconds for what is none."""
    if not isinstance(timeout, (int, float)) or timeout != timeout:
        return FLUSH_SECONDS
    return float(min(max(timeout, 0), _LONGEST))


def at_exit(flush: Flush) -> None:
    """Run a flush when this process ends normally, and when one forked from it does.

    Parameters
    ----------
    flush
        Takes the seconds it may last. Of several only the first is run by `atexit`: what is
        registered early is run late, when others have had the occasion to predict.

    Notes
    -----
    Children of `multiprocessing` end without `atexit`; they run finalizers of their own, before
    which they forget those of their parent.
    """
    global _registered
    if not _registered:
        _registered = True
        atexit.register(_last, flush)
    process: Any = sys.modules.get("multiprocessing.process")
    util: Any = sys.modules.get("multiprocessing.util")
    if process is not None and util is not None and process.parent_process() is not None:
        util.Finalize(None, _last, args=(flush,), exitpriority=_LAST)


def on_signals(flush: Flush) -> bool:
    """Run a flush before SIGTERM or SIGHUP ends this process, or does what it did before.

    Parameters
    ----------
    flush
        Takes the seconds it may last. It must do nothing in a forked child.

    Returns
    -------
    bool
        Whether a flush will come before SIGTERM.

    Notes
    -----
    A signal that is ignored stays ignored, and one that is handled by C code is left alone.
    Handlers are Python's: they run in the main thread between two of its instructions, so only
    there can one be installed, and a main thread inside a long call of C code delays it.
    """
    if threading.current_thread() is not threading.main_thread():
        return False
    for name in _ENDING:
        number = getattr(signal, name, None)
        before = None if number is None else signal.getsignal(number)
        if number is None or isinstance(before, _OnSignal) or before in (None, signal.SIG_IGN):
            continue
        try:
            signal.signal(number, _OnSignal(before, flush))
        except ValueError:
            return False  # an interpreter that is embedded keeps its signals for itself
        _forks.keep(number)
    return isinstance(signal.getsignal(signal.SIGTERM), _OnSignal)


def release_signals() -> None:
    """Give the signals back to who had them; those somebody else has taken since stay theirs."""
    for name in _ENDING:
        number = getattr(signal, name, None)
        handler = None if number is None else signal.getsignal(number)
        if number is None or not isinstance(handler, _OnSignal):
            continue
        handler.flush = None  # in another thread this is all that can be done
        _forks.numbers.discard(number)
        if threading.current_thread() is threading.main_thread():
            signal.signal(number, handler.before)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let a flush that the main thread makes come to its end before SIGTERM makes another one.

    Notes
    -----
    Such as the one at exit, when a pool tells its processes to end and then ends them. The signal
    does what it does right after.
    """
    if get_ident() != threading.main_thread().ident:
        yield
        return
    _held.depth += 1
    try:
        yield
    finally:
        _held.depth -= 1
        while not _held.depth and _held.numbers:
            signal.raise_signal(_held.numbers.pop(0))


class _Held:
    """Signals that wait for the main thread; only that thread comes here."""

    def __init__(self) -> None:
        self.depth = 0
        self.numbers: list[int] = []


_held = _Held()


class _Forks:
    """Has signals wait while a process is forked.

    Notes
    -----
    A new process forgets the signals that came to it before Python was ready in it: those that
    have no handler of Python's have ended it by then, those that have one are lost. Whoever sent
    it, such as a pool that ends its processes, would wait for ever. They are sent anew a moment
    later, because an exception that a handler raises during a fork is lost as well.
    """

    def __init__(self) -> None:
        self.numbers: set[signal.Signals] = set()
        self._masks: dict[int, set[Any]] = {}  # before a fork, by thread
        self._registered = False

    def keep(self, number: signal.Signals) -> None:
        """Have a signal wait from now on, where the system can tell what waits."""
        if not (hasattr(os, "register_at_fork") and hasattr(signal, "sigtimedwait")):
            return
        self.numbers.add(number)
        if not self._registered:
            self._registered = True
            os.register_at_fork(
                before=self._before, after_in_parent=self._after, after_in_child=self._after
            )

    def _before(self) -> None:
        if self.numbers:
            held = signal.pthread_sigmask(signal.SIG_BLOCK, self.numbers)
            self._masks[get_ident()] = held

    def _after(self) -> None:
        held = self._masks.pop(get_ident(), None)
        if held is None:
            return
        came = []
        while (found := signal.sigtimedwait(self.numbers - held, 0)) is not None:
            came.append(found.si_signo)
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
        if came:
            try:
                start_new_thread(_again, (came,))
            except RuntimeError:  # no thread can be had
                for number in came:
                    signal.raise_signal(number)


_forks = _Forks()


def _again(numbers: list[int]) -> None:
    time.sleep(_A_MOMENT)
    main = threading.main_thread().ident
    for number in numbers:
        if main is not None:  # whose call of the system is to end: another thread's would go on
            signal.pthread_kill(main, number)


def _last(flush: Flush) -> None:
    with undisturbed():
        flush(FLUSH_SECONDS)


class _OnSignal:
    """Handler of one signal.

    Notes
    -----
    It may interrupt the main thread anywhere, while that holds any lock: of the pipeline, of
    logging, of `threading` itself. So it takes none. The flush runs in a thread that is started
    without `threading`, and is waited for no longer than its time; if it needs what the main
    thread holds, that time is lost and nothing else.
    """

    def __init__(self, before: Any, flush: Flush) -> None:
        self.before = before
        self.flush: Flush | None = flush
        self._flushing = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._flushing:
            return  # the same signal again: the first one is about to do what it does
        if _held.depth and self.flush is not None:
            if number not in _held.numbers:
                _held.numbers.append(number)
            return
        if self.flush is not None:
            self._flushing = True
            try:
                _in_time(self.flush)
            finally:
                self._flushing = False
        if callable(self.before):
            self.before(number, frame)
            return
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
        signal.signal(number, self)  # the first process of a container is not ended by it


def _in_time(flush: Flush) -> None:
    done = allocate_lock()
    done.acquire()

    def run() -> None:
        try:
            flush(FLUSH_SECONDS)
        except Exception:
            _log.warning("the flush before the end of the process failed", exc_info=True)
        finally:
            done.release()

    try:
        start_new_thread(run, ())
    except RuntimeError:
        return  # no thread can be had
    done.acquire(timeout=FLUSH_SECONDS + _MARGIN)
