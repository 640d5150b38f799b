"""The product is broken in one way after the other, and the self-test says so.

Each way is a few lines that run in the server before it serves; what is seen is the verdict of the
one check that is about it.
"""

from __future__ import annotations

import pytest

from otel_ml.selftest.battery import Outcome, chosen, run
from tests.selftest.conftest import Sabotage

pytestmark = [pytest.mark.server, pytest.mark.slow]

EVERY_TENTH = """
def observe(**arguments):
    global calls
    calls += 1
    genuine(**arguments)
    if calls % 10 == 0:
        {}
product.observe = observe
"""
WAYS: dict[str, tuple[str, str, str]] = {
    "it raises into the application": (
        "baseline",
        "no error in the application",
        EVERY_TENTH.format("raise ValueError('no')"),
    ),
    "a failure reaches the client": (
        "baseline",
        "same answers",
        EVERY_TENTH.format("raise SystemExit"),
    ),
    "it changes what the application holds": (
        "baseline",
        "same answers",
        EVERY_TENTH.format("arguments['scores'][:] = 0"),
    ),
    "it counts twice": ("baseline", "exact counts", EVERY_TENTH.format("genuine(**arguments)")),
    "it blocks": (
        "baseline",
        "no call blocks",
        EVERY_TENTH.format("calls == 400 and __import__('time').sleep(1.5)"),
    ),
    "it leaves threads behind": (
        "baseline",
        "nothing left behind",
        EVERY_TENTH.format(
            "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()"
        ),
    ),
    "it leaves descriptors behind": (
        "baseline",
        "nothing left behind",
        EVERY_TENTH.format("import os; os.dup(0)"),
    ),
    "it leaves files behind": (
        "baseline",
        "nothing left behind",
        EVERY_TENTH.format("open(f'core.{calls}', 'w').close()"),
    ),
    "it changes an odd argument": (
        "odd_inputs",
        "same answers",
        "def observe(**arguments):\n"
        "    genuine(**arguments)\n"
        "    if arguments['model'] == 'odd' and isinstance(arguments.get('features'), list):\n"
        "        arguments['features'].append([0.0])\n"
        "product.observe = observe\n",
    ),
    "it chokes on an odd argument": (
        "odd_inputs",
        "the application answers",
        "def observe(**arguments):\n"
        "    len(arguments['features'] or ())\n"
        "    genuine(**arguments)\n"
        "product.observe = observe\n",
    ),
    "it grows": (
        "memory",
        "bounded memory",
        "kept = []\n"
        "def observe(**arguments):\n"
        "    kept.append(b'x' * 8192)\n"
        "    genuine(**arguments)\n"
        "product.observe = observe\n",
    ),
    "it says nothing": (
        "collector_refused",
        "message",
        "import logging\nlogging.disable(logging.CRITICAL)\n",
    ),
    "it lets children die": (
        "fork",
        "children",
        "import os\nos.register_at_fork(after_in_child=lambda: os._exit(3))\n",
    ),
    "it gives children one identity": (
        "fork",
        "identities",
        "from otel_ml.emit import resource\nresource.instance_id = lambda: 'the-one'\n",
    ),
    "it makes the exit wait": (
        "exit_refused",
        "exit in time",
        "import atexit, time\natexit.register(time.sleep, 6)\n",
    ),
    "it forgets what is queued at the end": (
        "sigterm",
        "exact counts",
        "import atexit\natexit.register = lambda work, *_, **__: work\n",
    ),
}


def only(name: str) -> Outcome:
    (outcome,) = run(chosen([name]), quick=True)
    return outcome


@pytest.mark.parametrize("way", WAYS)
def test_what_is_broken_fails(sabotage: Sabotage, way: str) -> None:
    fault, check, code = WAYS[way]
    sabotage(code)
    trial = only(fault).trial
    failed = {c.name for c in trial.checks if c.verdict == "FAIL"}
    assert check in failed, trial.checks
    assert trial.verdict == "FAIL"


def test_a_server_that_does_not_start_says_why(sabotage: Sabotage) -> None:
    sabotage("sys.exit('no such module: nonsense')\n")
    trial = only("baseline").trial
    assert trial.verdict == "FAIL"
    assert "did not start" in trial.reason
    assert "nonsense" in trial.reason


def test_what_broke_one_server_is_not_held_against_the_next(sabotage: Sabotage) -> None:
    # The file marks that it happened: only the first server is broken.
    sabotage(
        "from pathlib import Path\n"
        "mark = Path(__file__).parent / 'happened'\n"
        "if not mark.exists():\n"
        "    mark.touch()\n"
        "    sys.exit('once')\n"
    )
    outcomes = list(run(chosen(["baseline", "collector_html"]), quick=True))
    assert [o.trial.verdict for o in outcomes] == ["FAIL", "PASS"], outcomes[1].trial.checks
