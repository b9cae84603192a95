"""One request to a carrier's REST API: under a deadline, never redirected, every failure made ours once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime

from voxray.errors import CarrierError

TIMEOUT_SECS = 5.0


class HttpClient(Protocol):
    """The part of `treq.client.HTTPClient` used here; its agent and pool are the owner's."""

    def request(self, method: str, url: str, **kwargs: Any) -> Deferred[Any]: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What the carrier said; which statuses are good is for the caller to judge."""

    status: int
    body: bytes


class Rest:
    """A carrier's REST API under one account's credentials, which go nowhere else.

    Whoever makes a URL of a call's id checks the id's shape first: it may come from a stranger's stream.
    """

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
        self._carrier, self._client, self._reactor = carrier, client, reactor
        self._auth, self._headers, self._timeout_secs = auth, dict(headers or {}), timeout_secs

    async def ask(self, what: str, method: str, url: str, **content: Any) -> Answer:
        """`content`: treq's `data` or `json`; `what` names the request in an error. Raises CarrierError."""
        running = Deferred.fromCoroutine(self._asked(method, url, content))
        running.addTimeout(self._timeout_secs, self._reactor)
        try:
            return await running
        except CancelledError:
            raise
        except TimeoutError:
            raise CarrierError(self._carrier, f"no answer in {self._timeout_secs:g} s") from None
        except Exception as problem:  # noqa: BLE001 - whatever the way there throws; its text may hold the request
            raise CarrierError(self._carrier, f"{what} failed: {type(problem).__name__}") from None

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
