from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ml.config.units import Period, parse_allowance, parse_count_or_duration, parse_period
from otel_ml.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "period"),
    [
        ("30d", Period(seconds=30 * 86_400.0)),
        ("7d", Period(seconds=7 * 86_400.0)),
        ("24h", Period(seconds=86_400.0)),
        ("1.5h", Period(seconds=5_400.0)),
        ("90s", Period(seconds=90.0)),
        ("5m", Period(seconds=300.0)),
        ("5min", Period(seconds=300.0)),
        ("2w", Period(seconds=14 * 86_400.0)),
        ("100000rows", Period(rows=100_000)),
        ("100_000 ROWS", Period(rows=100_000)),
        ("1row", Period(rows=1)),
    ],
)
def test_reads_what_people_write(text: str, period: Period) -> None:
    assert parse_period(text) == period
    assert parse_count_or_duration(text) == period


@pytest.mark.parametrize(
    "text",
    [
        "",
        "30",
        "d",
        "30y",
        "-1d",
        "1.5rows",
        "1e9d",
        "9000w",
        "9" * 5000 + "rows",
        "٣d",
        "1 d 2 h",
    ],
)
def test_refuses_the_rest(text: str) -> None:
    with pytest.raises(ConfigError, match=r"remedy: Write it like 30d"):
        parse_period(text)


def test_only_a_delay_may_be_nothing() -> None:
    assert parse_count_or_duration("0rows") == Period(rows=0)
    assert parse_count_or_duration("0h") == Period(seconds=0.0)
    for text in ("0rows", "0h", "0.0d"):
        with pytest.raises(ConfigError, match="above zero"):
            parse_period(text)


def test_a_budget_is_a_count_per_period() -> None:
    assert parse_allowance("1/30d") == (1.0, "30d")
    assert parse_allowance(" 0.5 / 100000rows ") == (0.5, "100000rows")


@pytest.mark.parametrize(
    "text", ["1", "0/30d", "/30d", "-1/30d", "x/30d", "nan/1d", "9" * 400 + "/1d"]
)
def test_refuses_another_budget(text: str) -> None:
    with pytest.raises(ConfigError, match="expected a count per period"):
        parse_allowance(text)


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        period = parse_count_or_duration(text)
    except ConfigError:
        return
    assert (period.seconds is None) != (period.rows is None)
