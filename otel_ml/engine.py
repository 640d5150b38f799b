"""Batches and labels in, incidents and summaries out, on the caller's clock.

The engine is the public library: no thread, no I/O, no telemetry of its own. The embedded worker,
a processor, a backtest and the tests all drive this one class.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from otel_ml.budget import EVALUATION_ROWS, EVALUATION_SECONDS, Budget
from otel_ml.checkpoint import read, written
from otel_ml.clock import Clock, SystemClock
from otel_ml.counting import count_batch
from otel_ml.errors import DataError, StateError
from otel_ml.given import batch_of, check_batch
from otel_ml.incidents import Change, Command, Evidence, Incident, Playbook, Rollout
from otel_ml.learning import Learner
from otel_ml.profile import Profile, Reference
from otel_ml.profile.values import category_key
from otel_ml.state import State
from otel_ml.types import Batch, ModelKey

__all__ = ["Budget", "Engine"]


class Engine:
    """Profiles, monitors and incidents of one model.

    Parameters
    ----------
    reference
        What production is compared with; None lets the first `learn_rows` rows become it.
    budget
        False incidents the team puts up with.
    clock
        Tells when a batch came, where it has no event times, and when an evaluation is due; the
        machine's clock if left out. It and the times given to `evaluate` should be one clock.
    min_effect
        Total variation below which drift of inputs and outputs never alarms.
    learn_rows
        Rows that become the reference where there is none.
    label_capacity
        Predictions that wait for labels, at least.
    model
        Name and version; those of the reference if left out.
    namespace
        Service and environment, so that the same model elsewhere has other incident ids.
    learn
        Keyword arguments of `Reference.build` for a learned reference, such as ``categorical``.
    playbook
        Causes to choose from; the built-in ones if left out.
    evaluation_rows
        Rows of an evaluation, 50 at least; more cost less per row, and find a change later.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(7)
    >>> reference = Reference.build({"x": rng.normal(size=5000)}, model_name="demo")
    >>> engine = Engine(reference, budget=Budget(1, per="100000rows"))
    >>> engine.observe({"x": rng.normal(3, 1, size=500)})
    >>> [change.incident.culprit.target for change in engine.evaluate(0.0)][:1]
    ['x']
    """

    def __init__(
        self,
        reference: Reference | None = None,
        *,
        budget: Budget | None = None,
        clock: Clock | None = None,
        min_effect: float = 0.02,
        learn_rows: int = 2000,
        label_capacity: int = 50_000,
        model: ModelKey | None = None,
        namespace: str = "",
        learn: Mapping[str, Any] | None = None,
        playbook: Playbook | None = None,
        evaluation_rows: int = EVALUATION_ROWS,
    ) -> None:
        self.evaluation_rows = evaluation_rows
        self.budget = budget or Budget()
        self.clock = clock or SystemClock()
        self.min_effect = min_effect
        self.label_capacity = label_capacity
        self.namespace = namespace
        self.playbook = playbook
        if model is None:
            name = "model" if reference is None else reference.model_name
            model = ModelKey(name, None if reference is None else reference.model_version)
        self.model = model
        self.rows = 0
        self.state: State | None = None
        self.learner: Learner | None = None
        self.waiting_changes: list[Change] = []
        self.last_evaluation = -math.inf
        if reference is None:
            self.learner = Learner(model, learn_rows, learn or {})
        else:
            self.state = self._new_state(reference)

    @property
    def reference(self) -> Reference | None:
        """What production is compared with, None while it is being learned."""
        return None if self.state is None else self.state.reference

    @property
    def schema(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Features the latest batch lacked, and those it had that the reference does not know."""
        return ((), ()) if self.state is None else self.state.local.schema

    @property
    def incidents(self) -> tuple[Incident, ...]:
        """Open incidents, the oldest first."""
        return () if self.state is None else tuple(self.state.incidents.open)

    @property
    def threshold_log10(self) -> float:
        """Evidence, as a power of ten, at which an incident opens."""
        return math.log10(self.budget.evaluations)

    @property
    def evidence_log10(self) -> float:
        """Evidence of the model now, as a power of ten; minus infinity before the first row."""
        return -math.inf if self.state is None else self.state.evidence() / math.log(10)

    def observe(self, batch: Batch | Mapping[str, Any] | None = None, **columns: Any) -> None:
        """Take predictions.

        Parameters
        ----------
        batch
            A `Batch`, or a mapping of feature columns.
        **columns
            Further fields of `Batch` when the first argument is a mapping: ``scores``,
            ``predictions``, ``ids``, ``aliases``, ``clients``, ``event_times``, ``slices``,
            ``durations``, ``sizes``, ``errors``.

        Raises
        ------
        DataError
            If columns have different lengths, or a field is not known; nothing is counted then.
        """
        taken = batch if isinstance(batch, Batch) else batch_of(batch or {}, columns)
        check_batch(taken)
        if self.learner is not None:
            self.learner.add(taken)
            self.rows += taken.n
            if self.learner.ready:
                self._freeze()
            return
        assert self.state is not None
        self._take(self.state, taken)

    def observe_labels(
        self, ids: Sequence[str], labels: Sequence[Any], *, at: float | None = None
    ) -> None:
        """Take labels, with any delay and in any order; the next evaluation uses them.

        Many that come at once are evaluated in the order of their predictions.

        Parameters
        ----------
        ids
            Ids of the predictions they belong to.
        labels
            True classes, or values.
        at
            When they became known, seconds since the Unix epoch.

        Raises
        ------
        DataError
            If there are not as many labels as ids.
        """
        if len(ids) != len(labels):
            raise DataError(
                f"{len(ids)} ids and {len(labels)} labels", remedy="give one label per id"
            )
        if self.learner is not None:
            self.learner.add_labels(ids, labels)
            return
        assert self.state is not None
        now = self.clock.time()
        for _ in self.state.take_labels([str(i) for i in ids], [category_key(v) for v in labels]):
            self._evaluate(self.state, now if at is None else at, now)

    def evaluate(self, now: float | None = None) -> list[Change]:
        """Evaluate what is pending and return the changes since the last call.

        Parameters
        ----------
        now
            Seconds since the Unix epoch.

        Returns
        -------
        list of Change
            Incidents opened, updated and closed, in order.
        """
        at = self.clock.time() if now is None else now
        if self.state is not None and self.state.advance(at):
            # a clock that jumps back must not silence the monitors
            late = abs(at - self.last_evaluation) >= EVALUATION_SECONDS
            if late or self.state.pending.rows >= self.evaluation_rows:
                self._evaluate(self.state, at, at)
        changes, self.waiting_changes = self.waiting_changes, []
        return changes

    def finish_learning(self) -> bool:
        """Freeze the reference from the rows seen so far; tell whether there were any."""
        if self.learner is None or self.learner.rows == 0:
            return False
        self._freeze()
        return True

    def merge_profile(self, other: Profile) -> None:
        """Add the counts of another process to the totals and evaluate them as one step.

        Raises
        ------
        StateError
            While the reference is being learned.
        DataError
            If the profile was made with another reference.
        """
        if self.state is None:
            raise StateError(
                "the reference is still being learned", remedy="give the engine a reference"
            )
        self.state.merge(other)
        self.rows += int(other.counts.sum(axis=1).max(initial=0))
        now = self.clock.time()
        self._evaluate(self.state, now, now)

    def snapshot(self) -> dict[str, Any]:
        """Return the whole state as plain JSON values."""
        return written(self)

    @classmethod
    def restore(cls, snapshot: Mapping[str, Any], *, clock: Clock | None = None) -> Engine:
        """Return an engine that goes on where `snapshot` was taken.

        Raises
        ------
        StateError
            If the snapshot has another format or is damaged.
        """
        return read(snapshot, lambda reference, **options: cls(reference, clock=clock, **options))

    def _new_state(self, reference: Reference) -> State:
        return State(
            reference,
            model="@".join(str(part) for part in (self.namespace, *self.model) if part),
            min_effect=self.min_effect,
            label_capacity=self.label_capacity,
            playbook=self.playbook,
        )

    def _freeze(self) -> None:
        assert self.learner is not None
        reference, waiting, labels = self.learner.freeze()
        self.state = self._new_state(reference)
        self.learner = None
        self.state.expect_only(waiting, labels)

    def _take(self, state: State, batch: Batch) -> None:
        """Count a batch, evaluating whenever enough rows have come."""
        now = self.clock.time()
        if math.isinf(self.last_evaluation):
            self.last_evaluation = now
        for size, at in count_batch(state, batch, self.rows, now, self.evaluation_rows):
            self.rows += size
            if state.pending.rows >= self.evaluation_rows:
                self._evaluate(state, at, now)

    def _evaluate(self, state: State, at: float, now: float) -> None:
        # a budget in rows is spent by rows, however often few of them are evaluated
        counts = state.next_counts(self.rows, EVALUATION_ROWS, partly=self.budget.in_rows)
        detector = state.detector
        raw = detector.evidence()
        changes, rearm = state.incidents.step(
            Evidence(
                shares=detector.shares(raw),
                raw=raw,
                threshold=math.log(self.budget.evaluations),
                counts=counts,
                row=self.rows,
                at=at,
            )
        )
        state.settle(rearm, self.rows)
        self.waiting_changes += changes
        self.last_evaluation = now

    def roll_out(self, text: str, kind: Literal["version", "model", "deployment"]) -> None:
        """Take note of a rollout; an incident whose change lies near it names it.

        Parameters
        ----------
        text
            What to call it, such as ``version 2.1``.
        kind
            What it was.
        """
        if self.state is not None:
            self.state.around.roll_out(Rollout(self.rows, kind, text))

    def apply(self, command: Command) -> list[Change]:
        """Do what a person says about incidents; return what changed by it.

        Parameters
        ----------
        command
            Any command but ``re-reference``, for which there is `re_reference`.
        """
        state = self.state
        if state is None:
            return []
        changes, rearm = state.incidents.apply(command, self.rows, self.clock.time())
        state.settle(rearm, self.rows)
        return changes

    def re_reference(
        self, reference: Reference | None = None, learn: Learner | None = None
    ) -> list[Change]:
        """Accept traffic as it is now: compare with another reference; open incidents close.

        Labels that come later of predictions made before find none.

        Parameters
        ----------
        reference
            The reference to compare with from now on.
        learn
            Where there is none: what learns it from the next rows; nothing is watched meanwhile.

        Raises
        ------
        StateError
            If both or neither are given; nothing changes then.
        """
        if (reference is None) == (learn is None):
            raise StateError("one of reference and learn is needed", remedy="give either")
        old = self.state
        changes: list[Change] = []
        if old is not None:
            ending = tuple(old.incidents.open)
            changes, _ = old.incidents.end(ending, self.rows, self.clock.time(), "re-referenced")
        self.learner = learn
        self.state = None if reference is None else self._new_state(reference)
        if old is not None and self.state is not None:
            self.state.incidents.inherit(old.incidents)
        return changes
