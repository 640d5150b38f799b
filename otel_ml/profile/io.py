"""Plain JSON values in, one checksummed, versioned, readable file out, and back."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from otel_ml.errors import OtelMlError, ReferenceError

__all__ = ["FORMAT", "checksum", "read", "reading", "write"]

FORMAT: Final = "otel-ml/reference/2"
_MAX_BYTES: Final = 256 * 1024 * 1024


def checksum(data: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the canonical form: sorted keys, no spaces, UTF-8."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def write(path: Path, data: Mapping[str, Any]) -> None:
    """Write the file and replace an older one in a single step.

    Raises
    ------
    ReferenceError
        If the folder is missing or cannot be written.
    """
    document = {"format": FORMAT, "sha256": checksum(data), **data}
    text = json.dumps(document, allow_nan=False, indent=1) + "\n"
    # opened like any other file, not as a private one: the server may be another user
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with temporary.open("x", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ReferenceError(
            f"cannot write the reference to {path}: {error.strerror}",
            remedy="create the folder or choose another --out",
        ) from error


def read(path: Path) -> dict[str, Any]:
    """Return the content of a reference file after checking format and checksum.

    Raises
    ------
    ReferenceError
        If the file is missing, no JSON, of another format version, or its content was changed.
    """
    rebuild = "build it again with: otel-ml init --reference DATA"
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # reading a pipe or a device would never end
            raise ReferenceError(
                f"{path}: not a file",
                remedy=f"check the path in `models[].reference`, or {rebuild}",
            )
        if found.st_size > _MAX_BYTES:
            raise ReferenceError(f"{path}: larger than {_MAX_BYTES} bytes", remedy=rebuild)
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise ReferenceError(
            f"cannot read the reference {path}: {error.strerror}",
            remedy=f"check the path in `models[].reference`, or {rebuild}",
        ) from error
    except (ValueError, RecursionError) as error:
        raise ReferenceError(f"{path}: not a reference file ({error})", remedy=rebuild) from error
    if not isinstance(document, dict) or "format" not in document:
        raise ReferenceError(f"{path}: not a reference file (no `format` key)", remedy=rebuild)
    if document["format"] != FORMAT:
        raise ReferenceError(
            f"{path}: format {document['format']!r}, this version reads {FORMAT!r}",
            remedy="install the otel-ml that wrote it, or " + rebuild,
        )
    stated = document.get("sha256")
    data = {k: v for k, v in document.items() if k not in {"format", "sha256"}}
    with reading(str(path)):
        actual = checksum(data)
    if actual != stated:
        raise ReferenceError(
            f"{path}: checksum {actual[:12]} does not match the stated {str(stated)[:12]}: "
            "the file is damaged or was edited",
            remedy="restore the file from where it was written, or " + rebuild,
        )
    return data


@contextmanager
def reading(where: str) -> Iterator[None]:
    """Turn what a malformed document raises into a `ReferenceError` that names the file."""
    try:
        yield
    except OtelMlError as error:
        raise ReferenceError(f"{where}: {error.message}", remedy=error.remedy) from error
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise ReferenceError(
            f"{where}: malformed ({type(error).__name__}: {error})",
            remedy="build it again with: otel-ml init --reference DATA",
        ) from error
