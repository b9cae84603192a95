"""The carrier's HTTP request when a call comes in, and Twilio's signature of it.

The signature is HMAC-SHA1 over the URL as dialled, followed by the sorted, decoded form parameters; the
media socket's upgrade is signed too, over its `wss://` URL alone. Without an auth token nothing is signed;
the other carriers' requests are not signed yet.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.interfaces import IConsumer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer, IResponse
from zope.interface import implementer

from voxray.simulator.twiml import MAX_DOCUMENT_BYTES

WEBHOOK_TIMEOUT_SECS = 15.0  # Twilio's


def with_query(url: str, fields: Mapping[str, str]) -> str:
    """The URL of a GET with these parameters."""
    return f"{url}{'&' if '?' in url else '?'}{urlencode(fields)}" if fields else url


class WebhookFailed(Exception):
    """The webhook did not answer as a webhook should; one line, for people."""


def signature(auth_token: str, url: str, parameters: Mapping[str, str]) -> str:
    """`X-Twilio-Signature` for this request."""
    signed = url + "".join(name + parameters[name] for name in sorted(parameters))
    digest = hmac.new(auth_token.encode(), signed.encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode("ascii")


@implementer(IBodyProducer)
class _Form:
    """A request body that is all there: needs no cooperator, and so no reactor of its own."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.length = len(body)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Nothing to pause."""

    def resumeProducing(self) -> None:
        """Nothing to resume."""

    def stopProducing(self) -> None:
        """Nothing to stop."""


class _Collector(Protocol):
    """Reads an answer up to what an answer may have, and no further."""

    def __init__(self, done: Deferred[bytes]) -> None:
        self._done = done
        self._body = bytearray()

    def dataReceived(self, data: bytes) -> None:
        self._body += data
        if len(self._body) > MAX_DOCUMENT_BYTES and self.transport is not None:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._done.callback(bytes(self._body))


async def post_webhook(
    reactor: Any,
    url: str,
    form: Mapping[str, str],
    *,
    signed_as: str,
    auth_token: str,
    timeout_secs: float = WEBHOOK_TIMEOUT_SECS,
) -> bytes:
    """Posts the form as Twilio does; the body of a 200 answer. Raises WebhookFailed."""
    headers = {"X-Twilio-Signature": signature(auth_token, signed_as, form)} if auth_token else {}
    return await ask_webhook(reactor, "POST", url, form, headers, timeout_secs)


async def ask_webhook(
    reactor: Any,
    method: str,
    url: str,
    fields: Mapping[str, str],
    headers: Mapping[str, str],
    timeout_secs: float = WEBHOOK_TIMEOUT_SECS,
) -> bytes:
    """A carrier's request: a form by POST, the same names in the query by GET. The body of a 200 answer.
    Raises WebhookFailed.
    """
    sent = Headers({"Accept": ["*/*"]})
    for name, value in headers.items():
        sent.setRawHeaders(name, [value])
    form: _Form | None = None
    if method == "POST":
        sent.setRawHeaders("Content-Type", ["application/x-www-form-urlencoded; charset=UTF-8"])
        form = _Form(urlencode(fields).encode("ascii"))
    agent = Agent(reactor, connectTimeout=WEBHOOK_TIMEOUT_SECS)
    asked_url = url if form else with_query(url, fields)
    asked = agent.request(method.encode("ascii"), asked_url.encode("ascii"), sent, form)
    try:
        response = await asked.addTimeout(timeout_secs, reactor)
        body = await _body(response).addTimeout(timeout_secs, reactor)
    except (error.ConnectError, error.TimeoutError, error.DNSLookupError, ResponseFailed) as failed:
        if _gave_up(failed):
            raise WebhookFailed(f"{url}: no answer within {timeout_secs:g} s") from None
        raise WebhookFailed(f"{url}: {_reason(failed)}") from None
    except TookTooLong:
        raise WebhookFailed(f"{url}: no answer within {timeout_secs:g} s") from None
    if response.code != 200:
        raise WebhookFailed(f"{url} answered {response.code}{_excerpt(body)}")
    return body


def _body(response: IResponse) -> Deferred[bytes]:
    done: Deferred[bytes] = Deferred()
    response.deliverBody(_Collector(done))
    return done


def _gave_up(failed: Exception) -> bool:
    """An Agent that is cancelled by its time limit says ResponseFailed, with the cancelling inside."""
    reasons = failed.reasons if isinstance(failed, ResponseFailed) else ()
    return any(isinstance(each.value, CancelledError) for each in reasons)


def _reason(failed: Exception) -> str:
    if isinstance(failed, ResponseFailed) and failed.reasons:
        return str(failed.reasons[0].value)
    return str(failed) or type(failed).__name__


def _excerpt(body: bytes) -> str:
    text = " ".join(body[:300].decode("utf-8", "replace").split())
    return f": {text}" if text else ""
