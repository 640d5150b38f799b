"""The playbook in, one runbook per cause and their index out.

``python -m otel_ml.generate.runbooks`` writes ``docs/runbooks``, and the table of facts beside it;
``--check`` compares.
"""

from __future__ import annotations

import argparse
import string
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from otel_ml.incidents.advice import FACTS, Entry, builtin

__all__ = ["facts_page", "main", "pages"]

_NOTE: Final = "<!-- Written by python -m otel_ml.generate.runbooks from the playbook. -->"


def pages() -> Mapping[str, str]:
    """Return the text of every page by file name."""
    entries = sorted(builtin().entries, key=lambda entry: entry.id)
    index = [_NOTE, "", "# Runbooks", "", "One page per cause an incident can name.", ""]
    index += [f"- [{entry.title}]({entry.id}.md): `{entry.id}`" for entry in entries]
    index += ["", "What a playbook can ask about is in [facts.md](../facts.md)."]
    return {"README.md": "\n".join(index) + "\n"} | {
        f"{entry.id}.md": _page(entry) for entry in entries
    }


def facts_page() -> str:
    """Return the page of the facts that conditions and sentences of a playbook can use."""
    lines = [_NOTE, "", "# Facts of an incident", ""]
    lines += [
        "What conditions of a playbook can ask about, and what its sentences can name in braces. A",
        "fact that is not known fails every condition but `known: false`. Shares are from 0 to 1,",
        "and shown in per cent.",
        "",
        "| Fact | Kind | Meaning |",
        "|---|---|---|",
    ]
    lines += [f"| `{name}` | {fact.kind} | {fact.meaning} |" for name, fact in FACTS.items()]
    return "\n".join(lines) + "\n"


def _page(entry: Entry) -> str:
    lines = [_NOTE, "", f"# {entry.title}", "", f"Cause id: `{entry.id}`", ""]
    lines += ["## Meaning", "", entry.meaning, "", "## Impact", "", entry.impact, ""]
    lines += [
        "## Diagnosis",
        "",
        *(f"{i}. {step}" for i, step in enumerate(entry.diagnosis, 1)),
        "",
    ]
    for title, sign in (("What speaks for it", 1), ("What speaks against it", -1)):
        found = [o.say for o in entry.observations if o.weight * sign > 0]
        if found:
            lines += [f"### {title}", "", *(f"- {_placeholders(text)}" for text in found), ""]
    lines += ["## Mitigation", "", _placeholders(entry.next_step), ""]
    return "\n".join(lines)


def _placeholders(text: str) -> str:
    """Return a sentence with the facts it is filled with named in code font."""
    out = []
    for literal, name, _, _ in string.Formatter().parse(text):
        out.append(literal + (f"`{name}`" if name else ""))
    return "".join(out)


def main(argv: list[str] | None = None) -> int:
    """Write or compare the pages; 1 where one is out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/runbooks"))
    parser.add_argument("--check", action="store_true", help="compare only")
    arguments = parser.parse_args(argv)
    stale = []
    written = {arguments.out / name: text for name, text in pages().items()}
    written[arguments.out.parent / "facts.md"] = facts_page()
    for path, text in written.items():
        if arguments.check:
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                stale.append(str(path))
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    for path_name in stale:
        print(f"{path_name} is out of date; run python -m otel_ml.generate.runbooks")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
