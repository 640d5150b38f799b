"""``otel-ml incident``: what the workers show in, a list or a line for them out."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from otel_ml.cli import _incidents as shown
from otel_ml.config import load
from otel_ml.config.units import parse_period
from otel_ml.errors import ConfigError, DataError, OtelMlError, StateError
from otel_ml.inbox import append_command
from otel_ml.incidents import FOR_EVER, Command
from otel_ml.incidents.board import read_posts
from otel_ml.profile import Reference
from otel_ml.references import ACCEPTED

__all__ = ["register", "run"]

_EPILOG: Final = """\
examples:
  otel-ml incident list
  otel-ml incident show 3f2a
  otel-ml incident acknowledge 3f2a --note "the upstream job is being rolled back"
  otel-ml incident mute 3f2a --for 7d
  otel-ml incident mute --target age --monitor input_drift --for 30d
  otel-ml incident unmute --target age --monitor input_drift
  otel-ml incident close 3f2a
  otel-ml incident re-reference --model churn --file new_reference.json
  otel-ml incident re-reference --model churn --from-traffic 5000

An ID may be shortened as long as it is unique. Workers take a command within a second.
"""


def register(subparsers: Any) -> None:
    """Add the verb."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "incident",
        help="list incidents; mute, acknowledge or close them; accept a new reference",
        description="List incidents and answer them. Commands are lines in the state directory; "
        "every worker that shares it does what concerns its models.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--state",
        type=Path,
        metavar="DIR",
        help="state directory (default: state_dir of the configuration, OTEL_ML_STATE_DIR)",
    )
    common.add_argument("--json", metavar="FILE", help="write the answer as JSON; - is stdout")
    parser.set_defaults(run=run)

    def add(name: str, text: str) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = verbs.add_parser(
            name, parents=[common], help=text, description=text[0].upper() + text[1:] + "."
        )
        return made

    listing = add("list", "list the open incidents of all workers, and what is muted")
    listing.add_argument("--all", action="store_true", help="closed ones of the last days, too")
    listing.add_argument("--model", metavar="NAME", help="of one model only")
    add("show", "show one incident in full").add_argument("id", metavar="ID")
    for name, text in (
        ("mute", "let an incident, or all streams of a target, page nobody; all is still recorded"),
        ("unmute", "let an incident, or the streams of a target, page again"),
    ):
        muting = add(name, text)
        muting.add_argument("id", nargs="?", metavar="ID")
        muting.add_argument("--target", metavar="TARGET", help="a feature, group=value, score, …")
        muting.add_argument("--monitor", metavar="NAME", help="one monitor of the target only")
        muting.add_argument("--model", metavar="NAME", help="one model only (default: any)")
        if name == "mute":
            muting.add_argument(
                "--for", dest="period", metavar="TIME", help="such as 7d or 12h (default: for ever)"
            )
    acknowledging = add(
        "acknowledge", "take care of an incident: it pages nobody again unless it gets more severe"
    )
    acknowledging.add_argument("id", metavar="ID")
    closing = add(
        "close", "close an incident now and look again from nothing, against the same reference"
    )
    closing.add_argument("id", metavar="ID")
    accepting = add(
        "re-reference", "accept another reference for a model; its open incidents are closed"
    )
    accepting.add_argument("--model", metavar="NAME", required=True)
    source = accepting.add_mutually_exclusive_group(required=True)
    source.add_argument("--file", type=Path, metavar="FILE", help="reference made by otel-ml init")
    source.add_argument(
        "--from-traffic",
        type=int,
        metavar="ROWS",
        help="learn it from the next ROWS rows of each worker; nothing is watched meanwhile",
    )
    for each in (acknowledging, closing, accepting):
        each.add_argument("--by", metavar="NAME", help="who you are (default: user name)")
        each.add_argument("--note", default="", metavar="TEXT", help="to be kept with it")


def run(arguments: argparse.Namespace) -> int:
    """Answer, or append the command."""
    state: Path | None = arguments.state or load(os.environ).state_dir
    if state is None:
        raise ConfigError(
            "no state directory is known",
            remedy="give --state DIR, or set OTEL_ML_STATE_DIR to what the server has",
        )
    now = time.time()
    view = shown.merge(read_posts(state, now))
    if arguments.command == "list":
        kept = [
            i
            for i in view.incidents
            if (arguments.all or i["state"] != "closed") and arguments.model in (None, i["model"])
        ]
        document = {"schema": shown.SCHEMA, "workers": view.workers, "incidents": kept}
        _answer(arguments.json, document | {"mutes": view.mutes}, shown.table(view, kept, now))
        return 0
    if arguments.command == "show":
        found = shown.find(view, arguments.id)
        _answer(arguments.json, {"schema": shown.SCHEMA, "incident": found}, shown.page(found, now))
        return 0
    command = _command(arguments, view, state, now)
    append_command(state, command)
    running = sum(w["state"] == "running" for w in view.workers)
    done = {"schema": shown.SCHEMA, "command": command.to_json(), "running_workers": running}
    _answer(arguments.json, done, shown.said(command, running, state))
    return 0


def _command(arguments: argparse.Namespace, view: shown.View, state: Path, now: float) -> Command:
    """Return the command the arguments say, complete and checked."""
    verb = arguments.command
    by = getattr(arguments, "by", None) or _user()
    note = getattr(arguments, "note", "")
    if verb in ("acknowledge", "close"):
        found = shown.find(view, arguments.id, still_open=True)
        return Command(verb, now, found["id"], model=found["model"], by=by, note=note)
    if verb == "re-reference":
        return _re_reference(arguments, view, state, Command(verb, now, by=by, note=note))
    until = FOR_EVER
    if verb == "mute" and arguments.period is not None:
        seconds = parse_period(arguments.period).seconds
        if seconds is None:
            raise DataError(
                f"--for {arguments.period}: rows are no time", remedy="give a time such as 7d"
            )
        until = now + seconds
    if bool(arguments.id) == bool(arguments.target):
        problem = "both an ID and --target" if arguments.id else "neither an ID nor --target"
        raise DataError(f"{problem} given", remedy="give one of them")
    if arguments.id:
        if arguments.monitor or arguments.model:
            raise DataError(
                "--monitor and --model are for --target", remedy="leave them out: the ID is enough"
            )
        found = shown.find(view, arguments.id)
        return Command(verb, now, found["id"], model=found["model"], until=until, by=by)
    shown.check_model(view, arguments.model)
    return Command(
        verb,
        now,
        target=arguments.target,
        monitor=arguments.monitor or "",
        model=arguments.model,
        until=until,
        by=by,
    )


def _re_reference(
    arguments: argparse.Namespace, view: shown.View, state: Path, command: Command
) -> Command:
    """Return the command with its reference, which is put where the workers find it."""
    model = arguments.model
    shown.check_model(view, model)
    if not any(w["state"] == "running" and model in w["models"] for w in view.workers):
        raise StateError(
            f"no running worker of {state} serves a model {model!r}",
            remedy="start it first, or give it the new reference in `models[].reference`",
        )
    values: dict[str, Any] = {"at": command.at, "by": command.by, "note": command.note}
    if arguments.file is None:
        if arguments.from_traffic <= 0:
            raise DataError(
                f"--from-traffic {arguments.from_traffic} is no number of rows",
                remedy="give a positive number, such as 5000",
            )
        return Command("re-reference", model=model, rows=arguments.from_traffic, **values)
    reference = Reference.load(arguments.file)
    if reference.model_name != model:
        raise DataError(
            f"{arguments.file}: a reference of model {reference.model_name!r}, not {model!r}",
            remedy="name the reference of this model, or the model of this reference",
        )
    folder = state / ACCEPTED
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    reference.save(folder / f"{reference.id}.json")
    return Command("re-reference", model=model, reference=reference.id, **values)


def _user() -> str:
    """Return the name of whoever runs this; some containers have none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return "unknown"


def _answer(file: str | None, document: Mapping[str, Any], text: str) -> None:
    if file != "-":
        print(text)
    if file is None:
        return
    written = json.dumps(document, indent=1) + "\n"
    if file == "-":
        sys.stdout.write(written)
        return
    try:
        Path(file).write_text(written, encoding="utf-8")
    except OSError as error:
        raise OtelMlError(
            f"cannot write {file}: {error.strerror}", remedy="give --json another file"
        ) from error
