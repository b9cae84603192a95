"""Reads the order for a call that a client sends. Pure: bytes in, an order out, or what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from voxray.serializers.strictjson import loads
from voxray.web.dialing import Order

FIELDS = ("to", "from", "carrier", "body", "max_call_secs")
MAX_BODY_CHARS = 16_384
_NUMBER = re.compile(r"\+?[0-9]{3,15}|sips?:[A-Za-z0-9+.@:_-]{3,250}", re.ASCII)

Details = list[dict[str, str]]


class BadOrder(Exception):
    """What is wrong, field by field; empty: it is no JSON object at all."""

    def __init__(self, details: Details) -> None:
        super().__init__("; ".join(f"{each['field']}: {each['message']}" for each in details))
        self.details = details


def order_of(body: bytes, caller_id: str, longest_secs: float) -> Order:
    """`caller_id` calls where the order names nobody; `longest_secs` is the most a call may last.

    Raises BadOrder.
    """
    try:
        document = loads(body)
    except (ValueError, RecursionError):
        raise BadOrder([]) from None
    if not isinstance(document, dict):
        raise BadOrder([])
    document = {"from": caller_id, **document}
    details = [
        {"field": field, "message": message} for field, message in _faults(document, len(body), longest_secs)
    ]
    if details:
        raise BadOrder(details)
    return Order(
        to=document["to"],
        from_number=document["from"],
        carrier=document.get("carrier") or "",
        body=document.get("body") or {},
        max_secs=float(document.get("max_call_secs") or 0.0),
    )


def _faults(document: Mapping[str, Any], size: int, longest_secs: float) -> Iterator[tuple[str, str]]:
    for name in document:
        if name not in FIELDS:
            yield str(name)[:40], f"unknown; there are {', '.join(FIELDS)}"
    if not _is_number(document.get("to")):
        yield "to", "a number such as +15551234567, or a sip: address"
    if not document["from"]:
        yield "from", "missing, and caller_id is not set"
    elif not _is_number(document["from"]):
        yield "from", "a number such as +15551234567"
    if not isinstance(document.get("carrier"), str | None):
        yield "carrier", "the name of a carrier"
    if not isinstance(document.get("body"), dict | None):
        yield "body", "an object"
    elif size > MAX_BODY_CHARS:
        yield "body", f"at most {MAX_BODY_CHARS} bytes with everything else"
    secs = 0 if document.get("max_call_secs") is None else document["max_call_secs"]
    if isinstance(secs, bool) or not isinstance(secs, int | float) or not 0 <= secs <= longest_secs:
        yield "max_call_secs", f"a number of seconds up to {longest_secs:g}"


def _is_number(value: object) -> bool:
    return isinstance(value, str) and _NUMBER.fullmatch(value) is not None
