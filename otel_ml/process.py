"""Nothing in, a mark that is gone in every forked child out.

The request path has to know that it is in the process a buffer was made for. Asking for the process
id is a system call; a page that the kernel wipes in a child costs a tenth of one, and also tells
forks that run no hook of Python's, such as those of uWSGI.
"""

from __future__ import annotations

import mmap
import os
from typing import Final, Protocol

__all__ = ["Mark", "mark"]

_WIPE_ON_FORK: Final = 18  # MADV_WIPEONFORK of Linux 4.14; no name in Python yet


class Mark(Protocol):
    """Item 0 is 1 in the process that made it, and 0 in its children."""

    def __getitem__(self, index: int, /) -> int:
        """Return 1 in the process that made it."""
        ...


class _ProcessId:
    """The mark where the kernel wipes no pages."""

    def __init__(self) -> None:
        self._pid = os.getpid()

    def __getitem__(self, index: int, /) -> int:
        return int(os.getpid() == self._pid)


def mark() -> Mark:
    """Return a new mark of this process."""
    try:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        page = mmap.mmap(-1, mmap.PAGESIZE, flags=flags)
        page.madvise(_WIPE_ON_FORK)
    except (AttributeError, OSError, ValueError):
        return _ProcessId()  # another system, or an older kernel
    page[0] = 1
    return page
