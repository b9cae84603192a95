"""How the process ends when it cannot do its work."""

from __future__ import annotations

import atexit
import os
from typing import Any


def end_with_failure(reactor: Any) -> None:
    """Exit status 1. twistd has no word for it, and must remove its pid file: this is the last thing done."""
    reactor.addSystemEventTrigger("after", "shutdown", atexit.register, os._exit, 1)
    reactor.stop()
