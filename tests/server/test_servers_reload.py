"""`uvicorn --reload`: the process that is replaced counts to its end, and the next one anew."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import pytest

from otel_ml.emit import Receiver
from tests.server.serving import Answer, Mode, Service, exporting, serving, settings

pytestmark = [pytest.mark.server, pytest.mark.slow]

RELOADING: Final = Mode(
    ("uvicorn", "app:app", "--port", "{port}", "--no-access-log", "--reload"), 1
)


@pytest.mark.fault("D2", "D3")
def test_nothing_is_lost_by_a_reload(service: Service, tmp_path: Path) -> None:
    folder = tmp_path / "app"
    shutil.copytree(service.folder, folder)
    copied = Service(folder, service.features, service.labels)
    answers: list[Answer] = []
    with Receiver() as receiver:
        environ = {**settings(copied, tmp_path / "state"), **exporting(receiver.endpoint)}
        with serving(RELOADING, copied, tmp_path, environ) as server:

            def instances() -> int:
                return len({f["service.instance.id"] for f, _ in receiver.series("ml.predictions")})

            answers += server.predict([[row] for row in service.features[:30]])
            app = folder / "app.py"
            app.write_text(app.read_text() + "\n# changed\n")
            for turn in range(120):
                answers += server.predict([[service.features[turn]]])
                if receiver.wait(lambda: instances() > 1, 0.5):
                    break
            assert instances() == 2, server.output()
            answers += server.predict([[row] for row in service.features[30:50]])
            server.stop()
            assert {answer.status for answer in answers} == {200}
            assert instances() == 2
            assert receiver.total("ml.predictions") == len(answers), server.output()
            assert receiver.total("ml.monitoring.captured") == len(answers)
