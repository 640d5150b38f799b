"""The names of all facts a playbook can ask about in, what each means and how it is shown out.

One table, so that code, playbook, documentation and tests cannot disagree about a name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

__all__ = ["FACTS", "Fact", "Kind", "show"]

Kind: TypeAlias = Literal["flag", "count", "share", "number", "text"]


@dataclass(frozen=True, slots=True)
class Fact:
    """What a fact means.

    Parameters
    ----------
    kind
        How it is shown: a flag is true or false, a share is from 0 to 1 and shown in per cent.
    meaning
        One sentence without a full stop.
    """

    kind: Kind
    meaning: str


def _flags(**meanings: str) -> dict[str, Fact]:
    return {name: Fact("flag", meaning) for name, meaning in meanings.items()}


def _counts(**meanings: str) -> dict[str, Fact]:
    return {name: Fact("count", meaning) for name, meaning in meanings.items()}


def _shares(**meanings: str) -> dict[str, Fact]:
    return {name: Fact("share", meaning) for name, meaning in meanings.items()}


def _numbers(**meanings: str) -> dict[str, Fact]:
    return {name: Fact("number", meaning) for name, meaning in meanings.items()}


def _texts(**meanings: str) -> dict[str, Fact]:
    return {name: Fact("text", meaning) for name, meaning in meanings.items()}


FACTS: Final[Mapping[str, Fact]] = MappingProxyType(
    _texts(
        monitor="monitor of the culprit, the first member",
        target="what the culprit is about: a feature, `group=value`, `score`, …",
        defect="the culprit's data defect: missing, unseen, out_of_range, infinite, not_a_number; "
        "empty for every other monitor",
    )
    | _counts(
        rows="rows counted since the change",
        change_width="rows between the ends of the change point's interval",
    )
    | _numbers(
        before="mean in the reference, or the rate of what is asked where `rate` holds",
        after="the same since the change",
        sd_before="standard deviation in the reference",
        sd_after="standard deviation since the change",
        offset_sd="by how many reference standard deviations the mean moved, with its sign",
        spread_ratio="standard deviation since the change divided by that of the reference",
        information="mean log likelihood ratio of one row since the change, in nats",
        scale="factor by which values were multiplied",
        sentinel="the one value outside the reference's range that the new rows hold",
        spike_value="mean of the rows by which one cell grew",
        growth="total variation of the later half since the change divided by that of the first",
    )
    | _flags(rate="whether `before` and `after` are rates")
    | _shares(
        total_variation="share of the distribution that moved to other cells",
        top_before="share of `top_cell` in the reference",
        top_after="share of `top_cell` since the change",
        lost_before="share of `lost_cell` in the reference",
        lost_after="share of `lost_cell` since the change",
        scaled_share="share of rows multiplied by `scale`",
        spike_share="share of rows drawn to one cell while the others kept their proportions",
        clipped_share="share of the reference beyond the limit at which values now stop",
        unseen_share="share of rows with a category never seen in the reference",
    )
    | _texts(
        top_cell="cell whose share grew most",
        lost_cell="cell whose share fell most",
        unit="the change of unit that `scale` stands for",
        typical_before="cell of the median duration of the first calls",
        typical_after="cell of the median duration since the change",
        spike_cell="cell to which `spike_share` of the rows was drawn",
        clipped="end at which values now stop: above or below",
        moved_from="category that lost what `moved_to` won, all others unchanged",
        moved_to="category that won it",
        exchanged="two categories that exchanged their shares",
    )
    | _flags(
        categorical="whether the culprit's feature is categorical",
        scale_only="whether `scale` is known and no unit explains it",
        stuck="whether all rows since the change have one value",
        coarser="whether cells became empty although mean and spread stayed",
        constant_added="whether the mean moved and the spread stayed",
        negated="whether mean and spread are those of the reference with the sign turned",
        grew="whether `spike_cell` is a category the reference knows",
        defect_too="whether the culprit's feature has a defect it did not have before",
        missing_too="whether the culprit's feature is also missing more often",
        others_missing="whether other features became missing too",
    )
    | _counts(
        features_moved="features that moved, or have a new defect, the culprit included",
        features_missing="features that became missing",
        features_stuck="features that are stuck at one value",
        features_shifted="features whose values stopped, stuck, jumped or were replaced alike: "
        "stuck or a spike in one cell",
    )
    | _shares(features_share="share of all features that moved")
    | _texts(swapped_with="feature whose law the culprit took, and the other way round")
    | _flags(
        inputs_moved="whether features other than the culprit moved",
        inputs_stirred="whether all other features together moved a little",
        inputs_known="whether any feature is watched",
        outputs_moved="whether scores or predicted classes moved",
        scores_moved="whether scores moved, of all rows or of one group",
        predictions_moved="whether predicted classes or values moved",
        performance_moved="whether errors became more frequent",
        performance_moved_overall_more="whether all rows explain the errors better than the group",
        calibration_moved="whether scores no longer mean what they say",
        joint_moved="whether a feature no longer fits the others",
        joint_only="whether relations between features moved and no feature did by itself",
        residual_moved="whether the culprit's feature no longer fits the other features",
        out_of_distribution_moved="whether rows became unlike the reference as a whole",
        duplicates_moved="whether repeated rows became more frequent",
        clients_moved="whether the mix of clients moved",
        volume_moved="whether the number of rows per interval moved",
        schema_moved="whether columns are missing, new or renamed",
        latency_moved="whether calls became slow",
        errors_moved="whether calls fail",
        gradual="whether the change grew over time",
        from_start="whether the change was there in the first rows",
        labels_moved="whether the mix of the labels themselves moved, where the caller knows",
    )
    | _texts(
        columns="columns that are missing or new, where the schema is what changed",
        group="group the culprit is about, where it is about one",
        labeller="who gave the labels that differ, where the caller knows",
    )
    | _numbers(
        volume_ratio="rows per interval since the change divided by those before",
        batch_ratio="rows per call since the change divided by those before, where the caller "
        "knows",
    )
    | _texts(
        rollout="the roll-out nearest to the change point",
        rollout_kind="what was rolled out: version, model or deployment",
        whom="the slice that holds most of the change, as a sentence",
        whom_kind="kind of that slice: feature, client, version, replica or slice",
        whom_name="column of that slice",
        whom_value="its value",
    )
    | _shares(
        whom_coverage="share of the affected rows in that slice",
        whom_share="share of all rows in that slice",
    )
    | _counts(
        rollout_rows="rows from that roll-out to the change point; negative where it came after",
        seen_before="closed incidents with the same culprit",
    )
)


def show(name: str, value: Any, facts: Mapping[str, Any]) -> str:
    """Return a fact as it is shown in a sentence.

    Parameters
    ----------
    name
        Its name; one that is not in `FACTS` is shown as its value is.
    value
        Its value.
    facts
        All facts; ``rate`` says whether ``before`` and ``after`` are shares.
    """
    if not isinstance(value, float):
        return str(value)
    kind = FACTS[name].kind if name in FACTS else "number"
    share = kind == "share" or (name in ("before", "after") and bool(facts.get("rate")))
    return f"{value:.1%}" if share else f"{value:.4g}"
