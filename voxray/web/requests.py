"""What the policy needs of an HTTP request: its public URL, its headers as one mapping, its fields. Pure."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from voxray.interfaces import SignedRequest
from voxray.serializers.strictjson import loads
from voxray.web.hosts import public_host

_MAX_FIELDS = 200  # Twilio sends about 30


def asked_host(request: Any, proxy_host: str) -> str | None:
    """The host that the carrier dialled: the configured one, else what a trusted proxy says, else the
    request's own Host; None where that is unfit. `request` is a `channel.BoundedRequest`."""
    headers = request.requestHeaders.getRawHeaders(b"host", [])
    return public_host(proxy_host or request.origin.host, headers)


def signed_request(request: Any, scheme: str, host: str, body: bytes = b"") -> SignedRequest:
    """`request` is twisted.web's; `host` is our public one: a signature covers what the carrier dialled."""
    headers = {
        name.decode("latin-1").lower(): ",".join(value.decode("latin-1") for value in values)
        for name, values in request.requestHeaders.getAllRawHeaders()
    }
    url = f"{scheme}://{host}{request.uri.decode('latin-1')}"
    return SignedRequest(request.method.decode("latin-1"), url, headers, body)


def fields(encoded: bytes, content_type: str | None = None) -> dict[str, str]:
    """A form's or a query's fields, the first of each name; nothing when it is no form.

    A JSON object (Exotel's reports) gives its texts.
    """
    if content_type is not None and content_type.partition(";")[0].strip().lower() == "application/json":
        return _texts(encoded)
    try:
        pairs = parse_qsl(
            encoded.decode("utf-8"), keep_blank_values=True, errors="replace", max_num_fields=_MAX_FIELDS
        )
    except ValueError:
        return {}
    return dict(reversed(pairs))


def _texts(encoded: bytes) -> dict[str, str]:
    try:
        document = loads(encoded)
    except (ValueError, RecursionError):
        return {}
    items = document.items() if isinstance(document, dict) else ()
    return {name: value for name, value in items if isinstance(value, str)}


def query(request: Any) -> dict[str, str]:
    """The fields of the URL's query."""
    return fields(request.uri.partition(b"?")[2])
