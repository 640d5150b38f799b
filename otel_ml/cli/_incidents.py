"""What several workers show in, each incident once, as a table or a page, out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from otel_ml.errors import DataError
from otel_ml.incidents import FOR_EVER, Command
from otel_ml.incidents.board import Post

__all__ = ["SCHEMA", "View", "check_model", "find", "merge", "page", "said", "table"]

SCHEMA: Final = "otel-ml/incidents/1"
_SHOWN: Final = 12  # digits of an id in the table
_RANK: Final = {"running": 0, "ended": 1, "stale": 2}


@dataclass(frozen=True, slots=True)
class View:
    """What all workers show.

    Parameters
    ----------
    workers
        Instance, host, pid, ``state`` (running, ended, stale), time and models of each.
    incidents
        Each once, the latest first; ``state`` is open, closed or stale: open in a process that is
        gone. ``workers`` are the instances that hold it.
    mutes
        Muted streams: target, monitor, model, until.
    """

    workers: list[dict[str, Any]]
    incidents: list[dict[str, Any]]
    mutes: list[dict[str, Any]]


def merge(posts: Sequence[Post]) -> View:
    """Return each incident once, as whoever knows most about it shows it.

    Parameters
    ----------
    posts
        What all processes wrote.
    """
    workers, mutes = [], {}
    found: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for post in posts:
        names = [model["model"] for model in post.models]
        workers.append(
            {
                "instance": post.instance,
                "host": post.host,
                "pid": post.pid,
                "state": post.state,
                "at": post.at,
                "models": names,
            }
        )
        for model in post.models:
            for mute in model["mutes"] if post.state == "running" else ():
                key = (model["model"], mute["target"], mute["monitor"])
                mutes[key] = {
                    "model": model["model"],
                    "target": mute["target"],
                    "monitor": mute["monitor"],
                    "until": mute["until"],
                    "by": mute["by"],
                }
            for incident in model["incidents"]:
                gone = post.state != "running"
                over = incident["closed_row"] is not None
                state = "closed" if over else "stale" if gone else "open"
                # what is open somewhere is open; then whoever still runs knows best
                rank = 2 * (state != "open") + _RANK[post.state]
                item = {"model": model["model"], "version": model["version"], "state": state}
                found.setdefault(incident["id"], []).append(
                    (rank, {**item, **incident, "workers": [post.instance]})
                )
    incidents = []
    for held in found.values():
        best = dict(min(held, key=lambda pair: pair[0])[1])
        best["workers"] = [worker for _, item in held for worker in item["workers"]]
        incidents.append(best)
    incidents.sort(key=lambda i: -i["opened_at"])
    return View(workers, incidents, list(mutes.values()))


def find(view: View, start: str, *, still_open: bool = False) -> dict[str, Any]:
    """Return the incident whose id begins like this.

    Parameters
    ----------
    view
        What all workers show.
    start
        The id, or its beginning.
    still_open
        Whether it has to be open.

    Raises
    ------
    DataError
        If there is none or more than one; lists those that are open.
    """
    exact = [i for i in view.incidents if i["id"] == start]
    found = exact or [i for i in view.incidents if start and i["id"].startswith(start)]
    known = [f"{i['id']} ({_what(i)})" for i in view.incidents if i["state"] == "open"]
    are = f"open are {', '.join(known)}" if known else "none is open"
    if len(found) == 1:
        if still_open and found[0]["state"] != "open":
            raise DataError(f"incident {found[0]['id']} is {found[0]['state']}", remedy=are)
        return found[0]
    if found:
        raise DataError(
            f"{start!r} is the beginning of {len(found)} ids",
            remedy=f"give more of it: {', '.join(i['id'] for i in found)}",
        )
    raise DataError(f"no incident {start!r}", remedy=are)


def check_model(view: View, name: str | None) -> None:
    """Refuse the name of a model that no worker has.

    Raises
    ------
    DataError
        If there is none; lists those there are.
    """
    known = sorted({model for worker in view.workers for model in worker["models"]})
    if name is not None and known and name not in known:
        raise DataError(f"no model {name!r}", remedy=f"models are {', '.join(known)}")


def table(view: View, incidents: Sequence[Mapping[str, Any]], now: float) -> str:
    """Return incidents, mutes and what cannot be relied on as lines."""
    rows = [("ID", "STATE", "SEVERITY", "PAGES", "OPENED", "MODEL", "WHAT")]
    rows += [
        (
            i["id"][:_SHOWN],
            i["state"],
            i["severity"],
            _pages(i),
            f"{_ago(now - i['opened_at'])} ago",
            i["model"],
            _what(i),
        )
        for i in incidents
    ]
    widths = [max(len(row[c]) for row in rows) for c in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    if not incidents:
        lines = ["no incidents" if view.workers else "no worker has shown incidents here yet"]
    for mute in view.mutes:
        which = f" ({mute['monitor']})" if mute["monitor"] else ""
        lines.append(f"muted: {mute['target']}{which} of {mute['model']} {_until(mute['until'])}")
    for worker in view.workers:
        if worker["state"] == "stale":
            lines.append(
                f"stale: worker {worker['pid']} on {worker['host']} is gone without a word, last "
                f"seen {_ago(now - worker['at'])} ago; what it shows may be over"
            )
    return "\n".join(lines)


def page(incident: Mapping[str, Any], now: float) -> str:
    """Return all that is known of an incident, for people."""
    lower, upper = incident["change_row_interval"]
    opened = f"{_time(incident['opened_at'])}, {_ago(now - incident['opened_at'])} ago"
    lines = [
        f"incident {incident['id']} of {incident['model']}: {incident['state']}, "
        f"{incident['severity']}",
        f"opened       {opened}, at row {incident['opened_row']}",
        f"since        row {incident['change_row']} ({lower} to {upper})",
        f"pages        {_pages(incident)}",
        *([f"for whom     {incident['whom']['text']}"] if incident.get("whom") else []),
        f"harm         {incident['harm']['text']}",
    ]
    if incident["closed_at"] is not None:
        why = incident["closed_reason"]
        lines.insert(2, f"closed       {_time(incident['closed_at'])} ({why})")
    if incident["reopened"]:
        lines.append(f"came back    {incident['reopened']} times")
    if incident["note"]:
        lines.append(f"note         {incident['note']}")
    lines.append("what changed")
    for member in incident["members"]:
        unsure = " (to be confirmed)" if member.get("tentative") else ""
        lines.append(f"  {member['monitor']}: {member['text']}{unsure}")
    lines.append("likely causes")
    for cause in incident["causes"]:
        lines.append(f"  {cause['score']:.2f} {cause['title']}")
        lines += [f"       for: {text}" for text in cause["for"]]
        lines += [f"       against: {text}" for text in cause["against"]]
    if incident["causes"]:
        first = incident["causes"][0]
        lines += [f"next step    {first['next']}", f"runbook      {first['runbook']}"]
    return "\n".join(lines)


def said(command: Command, running: int, state: Path) -> str:
    """Return what will happen now, for people."""
    about = f"incident {command.id}" if command.id else command.target
    text = {
        "mute": f"{about} pages nobody {_until(command.until)}; it is still recorded",
        "unmute": f"{about} pages again where it hurts",
        "acknowledge": f"{about} is taken care of by {command.by}: "
        "it pages nobody again unless it gets more severe",
        "close": f"{about} is closed; what it was about is watched again from nothing, against "
        "the same reference: a fault that persists will open another one",
        "re-reference": f"open incidents of {command.model} are closed, and its traffic is "
        f"compared with reference {command.reference} from now on",
    }[command.verb]
    if command.rows:
        text = (
            f"open incidents of {command.model} are closed; the next {command.rows} rows of each "
            "worker become its reference, and nothing is watched until then"
        )
    who = f"{running} running workers take it" if running != 1 else "1 running worker takes it"
    if not running:
        who = f"no worker reads {state} now; those that start later will keep to it"
    return f"{text}\n{who}"


def _what(incident: Mapping[str, Any]) -> str:
    culprit = incident["members"][0]
    cause = incident["causes"][0]["id"] if incident["causes"] else "unknown"
    return f"{cause} of {culprit['target']}"


def _pages(incident: Mapping[str, Any]) -> str:
    if incident["muted_until"] is not None:
        return f"muted {_until(incident['muted_until'])}"
    if incident["paged"]:
        return "yes"
    by = incident["acknowledged_by"]
    return f"no, {by} has it" if by and incident["harmful"] else "no"


def _until(seconds: float) -> str:
    return "for ever" if seconds >= FOR_EVER else f"until {_time(seconds)}"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def _ago(seconds: float) -> str:
    for length, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{max(int(seconds), 0)} s"
