"""What is wrong with a certificate in, files of one out; made with the ``openssl`` program."""

from __future__ import annotations

import ssl
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Final

__all__ = ["Authority"]

_KEY: Final = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
_CONFIG: Final = """\
[ca]
default_ca = this
[this]
database = index.txt
new_certs_dir = .
rand_serial = yes
unique_subject = no
default_md = sha256
policy = any
[any]
commonName = supplied
"""


class Authority:
    """A certificate authority in a folder of its own.

    Parameters
    ----------
    folder
        Is made.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self.file = str(folder / "authority.pem")
        self._issued = 0
        (folder / "ca.cnf").write_text(_CONFIG, encoding="utf-8")
        (folder / "index.txt").write_text("", encoding="utf-8")
        self._run("req", "-x509", *_KEY, "-days", "2", "-subj", f"/CN={folder.name}",
                  "-out", "authority.pem", "-keyout", "authority.key")  # fmt: skip

    def issue(
        self, *, host: str = "IP:127.0.0.1", days: tuple[int, int] = (-1, 1)
    ) -> ssl.SSLContext:
        """Return a server's context with a certificate of its own."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.files(host=host, days=days))
        return context

    def files(
        self, *, host: str = "IP:127.0.0.1", days: tuple[int, int] = (-1, 1)
    ) -> tuple[str, str]:
        """Make a certificate for a host, valid between two days from now; return it and its key."""
        self._issued += 1
        name = f"server{self._issued}"
        (self._folder / "names").write_text(f"subjectAltName={host}\n", encoding="utf-8")
        self._run("req", "-new", *_KEY, "-subj", f"/CN={name}",
                  "-out", "request", "-keyout", f"{name}.key")  # fmt: skip
        start, end = (
            (datetime.now(timezone.utc) + timedelta(days=day)).strftime("%Y%m%d%H%M%SZ")
            for day in days
        )
        self._run("ca", "-batch", "-notext", "-config", "ca.cnf", "-in", "request",
                  "-cert", "authority.pem", "-keyfile", "authority.key", "-extfile", "names",
                  "-startdate", start, "-enddate", end, "-out", f"{name}.pem")  # fmt: skip
        return str(self._folder / f"{name}.pem"), str(self._folder / f"{name}.key")

    def _run(self, *arguments: str) -> None:
        subprocess.run(
            ["openssl", *arguments], cwd=self._folder, check=True, capture_output=True, timeout=60
        )
