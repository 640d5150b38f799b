"""A choice of faults in, one trial of each out; nothing is left running on any way out."""

from __future__ import annotations

import http.client
import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from otel_ml.errors import ConfigError
from otel_ml.selftest import endings as _endings
from otel_ml.selftest.bench import Bench
from otel_ml.selftest.endpoint import ENDPOINT, Content, endpoint_row
from otel_ml.selftest.faults import FAULTS, Fault
from otel_ml.selftest.process import SelftestError, kill_all
from otel_ml.selftest.trial import Trial

__all__ = ["Outcome", "chosen", "run"]

_REGISTERED = (_endings,)  # its rows are in the table


@dataclass(frozen=True)
class Outcome:
    """What one fault came to.

    Parameters
    ----------
    fault
        The row of the table.
    trial
        Its checks.
    seconds
        How long it took.
    """

    fault: Fault
    trial: Trial
    seconds: float


def chosen(
    only: Sequence[str] = (), *, quick: bool = False, endpoint: Content | None = None
) -> list[Fault]:
    """Return the faults asked for, in the order of the table.

    Parameters
    ----------
    only
        Their names; all that there are, or all quick ones, if empty.
    quick
        Whether to leave out what takes long.
    endpoint
        What to send to the user's own receiver; None where that is not asked for.

    Raises
    ------
    ConfigError
        A name is not in the table.
    """
    unknown = sorted(set(only) - {*FAULTS, ENDPOINT})
    if unknown:
        raise ConfigError(
            f"no fault is called {', '.join(map(repr, unknown))}",
            remedy=f"choose among: {', '.join((*FAULTS, ENDPOINT))}",
        )
    faults = [
        fault
        for fault in FAULTS.values()
        if (fault.id in only if only else fault.quick or not quick)
    ]
    if endpoint is not None or ENDPOINT in only:
        faults.append(endpoint_row(endpoint or "empty"))
    return faults


def run(
    faults: Sequence[Fault],
    *,
    quick: bool,
    keep: Path | None = None,
    begin: Callable[[Fault], None] = lambda _: None,
) -> Generator[Outcome, None, None]:
    """Let the faults loose one after another.

    Parameters
    ----------
    faults
        Rows of the table.
    quick
        Whether to spend little time on each.
    keep
        Folder for logs and output of the applications; a temporary one, removed, if None.
    begin
        Called with each fault before it is let loose.
    """
    with ExitStack() as stack:
        stack.callback(kill_all)
        folder = stack.enter_context(_folder(keep))
        bench = stack.enter_context(Bench(folder, quick))
        for fault in faults:
            begin(fault)
            began = time.monotonic()
            trial = Trial()
            missing = fault.needs()
            if missing:
                trial.skip("", missing)
            else:
                _attempt(bench, fault, trial)
            yield Outcome(fault, trial, time.monotonic() - began)


def _attempt(bench: Bench, fault: Fault, trial: Trial) -> None:
    try:
        fault.run(bench, trial)
    except (SelftestError, OSError, http.client.HTTPException) as error:
        said = error.message if isinstance(error, SelftestError) else repr(error)
        trial.check("the application answers", False, said)
        bench.broken()


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield Path(tempfile.mkdtemp(prefix="run-", dir=keep.resolve()))
        return
    folder = Path(tempfile.mkdtemp(prefix="otel-ml-selftest-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
