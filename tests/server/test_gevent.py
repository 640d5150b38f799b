"""A process that gevent patches after otel-ml was imported, as with ``--preload``."""

from __future__ import annotations

import pytest

from tests.faults.processes import alone

SCRIPT = """
import otel_ml
import otel_ml.pipeline
from gevent import monkey
monkey.patch_all()
import gevent

otel_ml.observe(model="m", features=[[1.0]], scores=[0.5])
assert otel_ml.flush(30)
for _ in range(300):
    gevent.sleep(0.001)  # a worker that keeps the hub would never give it back
print("other greenlets had their turns")
assert otel_ml.shutdown(30)
"""


def test_the_worker_leaves_the_hub_to_others() -> None:
    pytest.importorskip("gevent")
    ended = alone(SCRIPT, timeout=90, environ={"OTEL_METRICS_EXPORTER": "none"})
    assert ended.code == 0, ended.err
    assert "had their turns" in ended.out
