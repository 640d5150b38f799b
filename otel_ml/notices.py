"""Totals of what was lost in, one log record when a loss begins and one when it is over out."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from otel_ml.semconv.attributes import MlDropReason

__all__ = ["INVALID", "LABELS", "SAMPLED", "UNREADABLE", "Notices"]

_log = logging.getLogger("otel_ml")

SAMPLED: Final = "sampled"
LABELS: Final = "labels"
INVALID: Final = "invalid_probability"
UNREADABLE: Final = "unreadable: "
"""Before the reason why predictions are counted without their inputs, or without their outputs."""

_OVER: Final = 10.0  # seconds without a further one after which a loss is over
_AGAIN: Final = 300.0  # seconds before a loss that goes on is said again

_FASTER: Final = (
    "more predictions come than one thread can read; give the process more processor time, send "
    "larger batches, or spread the load over more processes"
)
REMEDIES: Final[Mapping[str, str]] = {
    MlDropReason.QUEUE_FULL: f"{_FASTER}, or raise capture.queue_size for short bursts",
    MlDropReason.INVALID_INPUT: "these inputs or outputs cannot be read: give numbers, texts or "
    "tables of them; a message beside this one names the error",
    MlDropReason.UNSUPPORTED_DTYPE: "values of this type are not counted: convert them to numbers "
    "or texts",
    MlDropReason.SHAPE: "inputs, outputs, ids or labels of one call have different numbers of "
    "rows: give one per row",
    MlDropReason.OUTPUT_SHAPE: "it cannot be told how many rows were predicted: give predictions "
    "of shape (n,) and scores of shape (n,) or (n, classes)",
    MlDropReason.OVERFLOW: "more models than are watched in one process: name those that are one "
    "model alike, under models in otel-ml.yaml",
    MlDropReason.UNENCODABLE: "a value cannot be written as OTLP: report it, with the message "
    "beside this one",
    MlDropReason.TOO_LARGE: "one item is larger than a request may be: shorten the names of models "
    "and features",
    MlDropReason.EXPORT_FAILED: "events could not be delivered for too long: check "
    "OTEL_EXPORTER_OTLP_ENDPOINT and the receiver",
    MlDropReason.REJECTED: "the receiver refused them: its log, or the message beside this one, "
    "says why",
    MlDropReason.SPOOL_FULL: "the spool on disk is full: raise its size, or check the receiver",
    MlDropReason.CLOSED: "they came after monitoring had ended in this process",
    SAMPLED: f"their values were not read, they are counted all the same: {_FASTER}",
    INVALID: "their scores are below 0 or above 1 and are left out: give the output of "
    "predict_proba, not margins or logits",
    UNREADABLE + MlDropReason.OUTPUT_SHAPE: "their outputs are neither classes nor scores of rows: "
    "report what is to be watched with otel_ml.observe(predictions=..., scores=...)",
    UNREADABLE + MlDropReason.SHAPE: "their inputs have another number of rows than their outputs: "
    "report both with otel_ml.observe, one row each",
    UNREADABLE + MlDropReason.INVALID_INPUT: "their inputs cannot be read: give numbers, texts or "
    "tables of them, or report features with otel_ml.observe",
    LABELS: "too many labels wait: report them in smaller parts",
}


class Notices:
    """Says when predictions, labels or telemetry begin to be lost, and when that is over.

    Notes
    -----
    One record at the beginning, one every five minutes while it goes on, one at the end, by kind
    of loss: a server that is flooded must not be flooded with messages as well.
    """

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._open: dict[str, tuple[int, float, float]] = {}  # total before, last loss, last said

    def look(self, totals: Mapping[str, int], now: float) -> None:
        """Compare totals with those of the last look.

        Parameters
        ----------
        totals
            Lost since the start of the process, by kind: a drop reason, one after `UNREADABLE`,
            or one of the other names here.
        now
            Seconds of a monotonic clock.
        """
        for kind, total in totals.items():
            before = self._seen.get(kind, 0)
            self._seen[kind] = total
            if kind not in REMEDIES:
                continue
            if total > before:
                start, _, said = self._open.get(kind, (before, now, -_AGAIN))
                if now - said >= _AGAIN:
                    said = now
                    text = "%s (%s, %d so far): %s"
                    _log.warning(text, _fate(kind), kind, total - start, REMEDIES[kind])
                self._open[kind] = (start, now, said)
            elif kind in self._open and now - self._open[kind][1] >= _OVER:
                start, _, _ = self._open.pop(kind)
                _log.warning("no more %s (%s); %d were", _fate(kind), kind, total - start)


def _fate(kind: str) -> str:
    """Return what becomes of what."""
    if kind == SAMPLED:
        return "predictions are sampled"
    if kind == INVALID:
        return "scores are no probabilities"
    if kind == LABELS:
        return "labels are lost"
    if kind.startswith(UNREADABLE):
        return "predictions are counted, but not watched in whole"
    return f"{'telemetry items' if kind in _ITEMS else 'predictions'} are lost"


_ITEMS: Final = frozenset(
    {
        MlDropReason.UNENCODABLE,
        MlDropReason.TOO_LARGE,
        MlDropReason.EXPORT_FAILED,
        MlDropReason.REJECTED,
        MlDropReason.SPOOL_FULL,
    }
)
