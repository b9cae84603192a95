"""The carrier's HTTP requests to the agent: the webhook of a call, and what is told or asked later.

`ask` signs as the carrier does (`signing`) and goes where the agent really is (`target`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

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

from voxray.simulator.masking import masked
from voxray.simulator.signing import Outgoing
from voxray.simulator.target import Target, check_local, reached
from voxray.simulator.twiml import MAX_DOCUMENT_BYTES

WEBHOOK_TIMEOUT_SECS = 15.0  # Twilio's


class WebhookFailed(Exception):
    """The webhook did not answer as a webhook should; one line, for people."""


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


async def ask(reactor: Any, target: Target, request: Outgoing, at: str = "") -> bytes:
    """The body of a good answer to a public URL of the agent's. `at` is where it is really asked, if that is
    not the same path at the target's address. Raises WebhookFailed, DialFailed, BadKey.
    """
    headers = {"User-Agent": target.side.user_agent} | target.signer.webhook(request)
    real = at or reached(target, request.url)
    check_local(urlsplit(real).hostname or "", target.allow_remote)
    if urlsplit(request.url).netloc != urlsplit(real).netloc:
        headers["Host"] = urlsplit(request.url).netloc
    return await ask_webhook(reactor, replace(request, url=real), headers)


async def ask_webhook(
    reactor: Any,
    request: Outgoing,
    headers: Mapping[str, str],
    timeout_secs: float = WEBHOOK_TIMEOUT_SECS,
) -> bytes:
    """Sends it as it is. The body of a 2xx answer. Raises WebhookFailed."""
    url = request.url
    sent = Headers({"Accept": ["*/*"]})
    for name, value in headers.items():
        sent.setRawHeaders(name, [value])
    form: _Form | None = None
    if request.method == "POST":
        sent.setRawHeaders("Content-Type", [request.content_type])
        form = _Form(request.content)
    agent = Agent(reactor, connectTimeout=WEBHOOK_TIMEOUT_SECS)
    asked = agent.request(request.method.encode("ascii"), url.encode("ascii"), sent, form)
    place = masked(url.partition("?")[0])
    try:
        response = await asked.addTimeout(timeout_secs, reactor)
        body = await _body(response).addTimeout(timeout_secs, reactor)
    except (error.ConnectError, error.TimeoutError, error.DNSLookupError, ResponseFailed) as failed:
        if _gave_up(failed):
            raise WebhookFailed(f"{place}: no answer within {timeout_secs:g} s") from None
        raise WebhookFailed(f"{place}: {_reason(failed)}") from None
    except TookTooLong:
        raise WebhookFailed(f"{place}: no answer within {timeout_secs:g} s") from None
    if not 200 <= response.code < 300:
        raise WebhookFailed(f"{place} answered {response.code}{masked(_excerpt(body))}")
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
