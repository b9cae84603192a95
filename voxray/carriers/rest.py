"""One request to a carrier's REST API: under a deadline, never redirected, every failure made ours once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxray.errors import CarrierError

TIMEOUT_SECS = 5.0


class HttpClient(Protocol):
    """The part of `treq.client.HTTPClient` used here; its agent and pool are the owner's."""

    def request(self, method: str, url: str, **kwargs: Any) -> Deferred[Any]: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What the carrier said."""

    status: int
    body: bytes

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300

    def fields(self) -> dict[str, Any]:
        """The JSON object of the body; empty when it is none."""
        try:
            document = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return document if isinstance(document, dict) else {}


class Rest:
    """A carrier's REST API under one account's credentials, which go nowhere else.

    Whoever makes a URL of a call's id checks the id's shape first: it may come from a stranger's stream.
    """

    _log = Logger()

    def __init__(
        self,
        carrier: str,
        client: HttpClient,
        reactor: IReactorTime,
        *,
        auth: tuple[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_secs: float = TIMEOUT_SECS,
    ) -> None:
        """`auth` is for HTTP Basic; `headers` go with every request."""
        self.carrier, self._client, self._reactor = carrier, client, reactor
        self._auth, self._headers, self._timeout_secs = auth, dict(headers or {}), timeout_secs

    async def order(
        self,
        what: str,
        method: str,
        url: str,
        *,
        over: Callable[[Answer], bool] | None = None,
        **content: Any,
    ) -> Answer:
        """Asks for something to be done; anything but success raises CarrierError with the status.

        `content`: treq's `data` or `json`; `what` names the request in an error. `over` knows the answer for
        a call that has ended already, where that is as good.
        """
        answer = await self._ask(what, method, url, content)
        if answer.good:
            return answer
        if over is not None and over(answer):
            self._log.debug("{carrier}: {what}: the call had ended already", carrier=self.carrier, what=what)
            return answer
        raise CarrierError(self.carrier, f"{what} answered {answer.status}", status=answer.status)

    async def _ask(self, what: str, method: str, url: str, content: Mapping[str, Any]) -> Answer:
        running = Deferred.fromCoroutine(self._asked(method, url, content))
        running.addTimeout(self._timeout_secs, self._reactor)
        try:
            return await running
        except CancelledError:
            raise
        except TimeoutError:
            raise CarrierError(self.carrier, f"no answer in {self._timeout_secs:g} s") from None
        except Exception as problem:  # noqa: BLE001 - whatever the way there throws; its text may hold the request
            raise CarrierError(self.carrier, f"{what} failed: {type(problem).__name__}") from None

    async def _asked(self, method: str, url: str, content: Mapping[str, Any]) -> Answer:
        response = await self._client.request(
            method,
            url,
            headers=self._headers,
            auth=self._auth,
            allow_redirects=False,  # the credentials would follow
            reactor=self._reactor,
            **content,
        )
        body: bytes = await response.content()  # a few hundred bytes; frees the connection
        return Answer(int(response.code), body)


def not_found(answer: Answer) -> bool:
    """How Twilio (with code 20404) and Plivo speak of a call that has ended."""
    return answer.status == 404
