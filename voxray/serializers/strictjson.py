"""JSON for messages of strangers: orjson where it is installed, else the standard library, equally strict.

The caller bounds the size first (64 KiB). `loads` raises ValueError or RecursionError, nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NoReturn

__all__ = ["dumps", "loads"]

loads: Callable[[bytes], Any]
dumps: Callable[[Any], bytes]


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def std_loads(message: bytes, /) -> Any:
    """`json.loads` less what it adds to RFC 8259: UTF-16 and UTF-32 by guess, NaN, Infinity."""
    return json.loads(message.decode("utf-8"), parse_constant=_refuse)


def std_dumps(value: Any, /) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")


try:
    import orjson
except ImportError:  # pragma: no cover - the wheel is missing on a few machines
    loads, dumps = std_loads, std_dumps
else:
    loads, dumps = orjson.loads, orjson.dumps
