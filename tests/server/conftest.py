"""The service to be served, and a guard against tests that hang."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

for module in ("sklearn", "fastapi", "uvicorn", "gunicorn", "pyarrow"):
    pytest.importorskip(module)

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.server.serving import SCRIPTS, Service, make_service  # noqa: E402

HANG = 900  # seconds; not a measure of speed


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Service:
    """Return the example service with a trained model and a reference."""
    missing = [n for n in ("opentelemetry-instrument", "otel-ml") if not (SCRIPTS / n).exists()]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: install this project and its [demo] extra")
    return make_service(tmp_path_factory.mktemp("service"))


@pytest.fixture(autouse=True, scope="module")
def _hang_guard() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError("the tests of this module hang")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(HANG)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
