"""The whole table once, quickly: every fault is survived, and what cannot run here says why."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from otel_ml.selftest.battery import Outcome, chosen, run
from otel_ml.selftest.bench import Bench
from otel_ml.selftest.endpoint import endpoint_row
from otel_ml.selftest.faults import FAULTS
from otel_ml.selftest.trial import Trial

AFTER_ANY = {
    "same answers",
    "no error in the application",
    "exact counts",
    "recovery",
    "bounded memory",
    "nothing left behind",
}
ENDINGS = {"sigterm", "sigkill", "sigkill_spool"}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    keep = tmp_path_factory.mktemp("kept")
    begun: list[str] = []
    found = list(run(chosen(), quick=True, keep=keep, begin=lambda f: begun.append(f.id)))
    assert begun == [outcome.fault.id for outcome in found]
    return {outcome.fault.id: outcome for outcome in found}


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_survived(outcomes: dict[str, Outcome], name: str) -> None:
    trial = outcomes[name].trial
    assert trial.verdict == "PASS", trial.reason
    checked = {check.name for check in trial.checks}
    assert name in ENDINGS or name.startswith("exit_") or checked >= AFTER_ANY


@pytest.mark.parametrize("name", FAULTS)
def test_a_row_says_what_it_is(name: str) -> None:
    fault = FAULTS[name]
    assert fault.id == name
    assert name.isidentifier()
    assert fault.promise.endswith(".")
    assert not fault.title.endswith(".")
    assert fault.needs() == ""  # here everything can run


def test_what_cannot_run_is_skipped_with_the_reason(tmp_path: Path) -> None:
    def run_it(bench: Bench, trial: Trial) -> None:
        raise AssertionError("it was said to be impossible")

    row = dataclasses.replace(FAULTS["fork"], run=run_it, needs=lambda: "vms has no fork")
    (outcome,) = run([row], quick=True)
    assert (outcome.trial.verdict, outcome.trial.reason) == ("SKIP", "vms has no fork")


def test_the_order_is_that_of_the_table() -> None:
    assert [fault.id for fault in chosen(["fork", "baseline"])] == ["baseline", "fork"]
    asked = [fault.id for fault in chosen(["baseline"], endpoint="empty")]
    assert asked == ["baseline", "endpoint"]
    assert endpoint_row("point").needs() == ""
