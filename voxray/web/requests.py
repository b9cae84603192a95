"""What the policy needs of an HTTP request: its public URL, its headers as one mapping, its fields. Pure."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from voxray.interfaces import SignedRequest

_MAX_FIELDS = 200  # Twilio sends about 30


def signed_request(request: Any, scheme: str, host: str, body: bytes = b"") -> SignedRequest:
    """`request` is twisted.web's; `host` is our public one: a signature covers what the carrier dialled."""
    headers = {
        name.decode("latin-1").lower(): ",".join(value.decode("latin-1") for value in values)
        for name, values in request.requestHeaders.getAllRawHeaders()
    }
    url = f"{scheme}://{host}{request.uri.decode('latin-1')}"
    return SignedRequest(request.method.decode("latin-1"), url, headers, body)


def fields(encoded: bytes) -> dict[str, str]:
    """A form's or a query's fields, the first of each name; nothing when it is no form."""
    try:
        pairs = parse_qsl(
            encoded.decode("utf-8"), keep_blank_values=True, errors="replace", max_num_fields=_MAX_FIELDS
        )
    except ValueError:
        return {}
    return dict(reversed(pairs))


def query(request: Any) -> dict[str, str]:
    """The fields of the URL's query."""
    return fields(request.uri.partition(b"?")[2])
