"""The facts of one changed stream in, one sentence for people out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from otel_ml.types import Stream

__all__ = ["milliseconds", "sentence"]

_DEFECTS: Final = {
    "missing": "missing",
    "unseen": "a value never seen before",
    "out_of_range": "outside the reference's range",
    "infinite": "infinite",
    "not_a_number": "not a number",
}
_OF_ROWS: Final = {
    "duplicates": "rows repeat an earlier row",
    "schema": "rows lack a column or have one the model does not know",
    "errors": "calls fail",
}


def milliseconds(cell: str) -> str:
    """Return the name of a cell of durations, ``(0.1, 0.15]``, as people say it."""
    ends = cell.strip("(]").split(", ")
    if len(ends) != 2:
        return cell.replace("_", " ")
    low, high = (1000 * float(end) for end in ends)
    return f"{low:.3g} to {high:.3g} ms"


def sentence(stream: Stream, facts: Mapping[str, Any]) -> str:
    """Return the facts of a change as one sentence.

    Parameters
    ----------
    stream
        What changed.
    facts
        What `otel_ml.incidents.effect.describe` returned.
    """
    name = stream.target
    rate = bool(facts.get("rate"))
    if stream.defect:
        kind = _DEFECTS.get(stream.defect, stream.defect)
        return f"{name} is {kind} in {facts['after']:.1%} of rows (reference {facts['before']:.1%})"
    if stream.monitor == "performance" and rate:
        who = "all rows" if name == "performance" else name
        return f"the error rate for {who} is {facts['after']:.1%} (reference {facts['before']:.1%})"
    if stream.monitor == "latency" and "typical_after" in facts:
        return (
            f"{facts['after']:.0%} of calls are much slower than the first ones were: the typical "
            f"one takes {facts['typical_after']}, {facts['typical_before']} before"
        )
    if stream.monitor == "errors":
        return f"{facts['after']:.1%} of calls fail"
    if stream.monitor in _OF_ROWS and rate:
        what = _OF_ROWS[stream.monitor]
        named = f": {facts['columns']}" if facts.get("columns") else ""
        return f"{facts['after']:.1%} of {what} (before {facts['before']:.1%}){named}"
    moved = f"{facts['total_variation']:.0%} of its mass shifted"
    if stream.monitor == "joint_drift":
        if name == "out_of_distribution":
            return f"rows became unlike the reference as a whole: {facts['total_variation']:.0%}"
        return f"{name} no longer fits the other features as it did: {moved} given them"
    if stream.monitor == "calibration":
        who = "" if name == "calibration" else f" for {name}"
        return f"scores no longer mean what they say{who}: {moved}"
    if stream.monitor == "volume":
        return f"the number of rows per interval moved: {_cell(facts)}"
    if stream.monitor == "client_drift":
        return f"the mix of clients moved: {_cell(facts)}"
    if rate:
        return f"{name}: {facts['after']:.1%} of rows (before {facts['before']:.1%})"
    return _of_values(name, facts, moved)


def _of_values(name: str, facts: Mapping[str, Any], moved: str) -> str:
    if facts.get("unit"):
        return (
            f"{name} is {facts['scale']:.4g} times what it was, as from {facts['unit']} "
            f"(mean {facts['before']:.4g} before, {facts['after']:.4g} now)"
        )
    if facts.get("exchanged"):
        return f"{name}: {facts['exchanged']} exchanged their shares; {moved}"
    if facts.get("clipped"):
        return (
            f"no value of {name} lies {facts['clipped']} {facts['top_cell']} any more, "
            f"{facts['clipped_share']:.0%} did; {moved}"
        )
    drawn = "spike_share" in facts and not facts.get("stuck") and not facts.get("categorical")
    if drawn:
        return f"{facts['spike_share']:.0%} of {name} went to {facts['spike_cell']!r}; {moved}"
    if "after" in facts:
        return f"{name} moved: mean {facts['before']:.4g} before, {facts['after']:.4g} now; {moved}"
    return f"{name} moved: {_cell(facts)}; {moved}"


def _cell(facts: Mapping[str, Any]) -> str:
    return (
        f"{facts['top_cell']!r} was {facts['top_before']:.1%} of rows, is {facts['top_after']:.1%}"
    )
