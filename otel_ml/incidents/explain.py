"""The members of an incident in, its causes, harm and severity out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from otel_ml.incidents.advice import Playbook, Rollout, Setting, Since, facts_of, rank
from otel_ml.incidents.harm import Sensitivities, assess
from otel_ml.incidents.incident import Incident
from otel_ml.incidents.whom import Whom
from otel_ml.types import FloatArray, Stream

__all__ = ["Rollout", "Since", "explain"]

_NOTHING: Final[Mapping[str, Any]] = {}


def explain(
    incident: Incident,
    streams: Sequence[Stream],
    sensitivity: Sensitivities,
    *,
    since: Since | None = None,
    effects: Mapping[str, FloatArray] = _NOTHING,
    whom: Whom | None = None,
    rollouts: Sequence[Rollout] = (),
    earlier: Sequence[Incident] = (),
    known: Mapping[str, Any] = _NOTHING,
    playbook: Playbook | None = None,
) -> None:
    """Name causes, harm and severity from all members as they are now.

    Parameters
    ----------
    incident
        Its members are read, the rest is written.
    streams
        All streams of the model.
    sensitivity
        Mean absolute change of the score when a feature is shuffled, by feature.
    since
        Counts of all sources since the change: what did not move speaks as well. None: only the
        members speak.
    effects
        Contribution of each cell of a feature to the score, by feature, shape ``(cells,)``.
    whom
        The slice that holds most of the change.
    rollouts
        What was rolled out, in any order.
    earlier
        Incidents that are closed.
    known
        Further facts the caller knows, such as ``labels_moved``; they override those found here.
    playbook
        Causes to choose from; the built-in ones if left out.
    """
    setting = Setting(since=since, whom=whom, rollouts=rollouts, earlier=earlier)
    facts = facts_of(incident, streams, setting) | dict(known)
    incident.causes = rank(facts, playbook)
    incident.harm, incident.severity, paged = assess(
        incident.members, streams, sensitivity, effects=effects, since=since
    )
    incident.paged = incident.paged or paged
