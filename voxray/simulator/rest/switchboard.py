"""The calls that are up or ringing, what the carrier's API can do to each, and what was asked of it.

An order is a call the agent wants placed: it rings until whoever watches the switchboard (`on_order`) answers
it, or until the agent gives it up. Nothing here knows of HTTP.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from voxray.simulator.wires.vocabulary import CallIds, Numbers


@dataclass(frozen=True, slots=True)
class Asked:
    """One request to the API, as it was answered. `path` is unquoted, `fields` the body's."""

    method: str
    path: str
    fields: Mapping[str, Any]
    call_id: str
    status: int


async def _nobody(method: str, url: str) -> bytes:
    raise LookupError("nobody is there to be asked")


@dataclass(frozen=True, slots=True)
class Line:
    """A call that is up, as the API gets hold of it."""

    hang_up: Callable[[], None]
    keys: Callable[[str], None] = lambda digits: None  # pressed towards the caller
    transfer: Callable[[str, str], None] = lambda to, problem: None
    fetch: Callable[[str, str], Coroutine[Any, Any, bytes]] = _nobody  # method, URL: the agent's document


@dataclass(frozen=True, slots=True)
class Order:
    """A call the agent wants placed, as the carrier understood it. Every URL is the agent's public one."""

    ids: CallIds
    reference: str  # what it is given up by: the call's id, or a request's
    to: str
    from_number: str
    answer_url: str = ""
    answer_method: str = "POST"
    stream_url: str = ""  # Exotel's: nothing is fetched
    status_url: str = ""
    status_method: str = "POST"
    status_type: str = ""  # of the body; empty: a form
    events: tuple[str, ...] = ("completed",)  # of the call's progress, that `status_url` is told
    ring_secs: float = 60.0
    max_secs: float = 0.0  # 0: no limit was given
    fields: Mapping[str, Any] = field(default_factory=dict)  # everything that was sent
    dialled_is_from: bool = False  # Exotel's word for the number it dials

    @property
    def numbers(self) -> Numbers:
        """As the stream's start has them."""
        both = (self.to, self.from_number) if self.dialled_is_from else (self.from_number, self.to)
        return Numbers(*both)


@dataclass(slots=True)
class Switchboard:
    """One carrier account's calls, by call id, and every request that was made about any."""

    account_sid: str
    auth_token: str = field(default="", repr=False)  # empty: any password will do
    carrier: str = "twilio"
    requests: list[tuple[str, int]] = field(default_factory=list)  # call id, status answered
    log: list[Asked] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    user: str = ""  # for HTTP Basic; empty: the account
    refuses: tuple[int, str] | None = None  # every order, with this status and reason
    tells_call_sid: bool = True  # Telnyx: one of its pages shows an answer to a dial without
    on_order: Callable[[Order], None] = lambda order: None
    _calls: dict[str, Line] = field(default_factory=dict)
    _away: dict[str, Line] = field(default_factory=dict)
    _ringing: dict[str, tuple[Order, Callable[[], None]]] = field(default_factory=dict)

    # -- calls that are up ---------------------------------------------------
    def add(self, call_sid: str, line: Line) -> None:
        self._calls[call_sid] = line

    def remove(self, call_sid: str) -> None:
        self._calls.pop(call_sid, None)

    def line(self, call_sid: str) -> Line | None:
        return self._calls.get(call_sid)

    def press(self, call_sid: str, digits: str) -> bool:
        """Presses keys towards the caller; False when there is no such call."""
        line = self._calls.get(call_sid)
        if line is not None:
            line.keys(digits)
        return line is not None

    def end(self, call_sid: str) -> bool:
        """Ends the call, or its ringing; False when there is none. A transferred call is still one."""
        if self.give_up(call_sid):
            return True
        line = self._calls.pop(call_sid, None) or self._away.pop(call_sid, None)
        if line is not None:
            line.hang_up()
        return line is not None

    def transfer(self, call_sid: str, to: str, problem: str = "") -> bool:
        """Takes the call from its stream and connects it to `to`; False when there is no such call."""
        line = self._calls.pop(call_sid, None)
        if line is None:
            return False
        self._away[call_sid] = line
        line.transfer(to, problem)
        return True

    # -- calls the agent places ----------------------------------------------
    def dial(self, order: Order) -> None:
        """It rings."""
        self.orders.append(order)
        self._ringing[order.reference] = (order, lambda: None)
        self.on_order(order)

    def rings(self, order: Order, gives_up: Callable[[], None]) -> None:
        """Whoever will answer wants to know when the agent gives the call up."""
        self._ringing[order.reference] = (order, gives_up)

    def settled(self, order: Order) -> None:
        """It rings no more."""
        self._ringing.pop(order.reference, None)

    def give_up(self, reference: str) -> bool:
        """By an order's reference or its call's id; False for one that does not ring."""
        for key, (order, gives_up) in list(self._ringing.items()):
            if reference in (key, order.ids.call_sid):
                del self._ringing[key]
                gives_up()
                return True
        return False

    # -- who asks ------------------------------------------------------------
    def admits_key(self, authorization: bytes) -> bool:
        """The same for a bearer's key."""
        scheme, _, key = authorization.partition(b" ")
        return scheme == b"Bearer" and bool(key) and (not self.auth_token or _same(key, self.auth_token))

    def admits(self, user: bytes, password: bytes) -> bool:
        """Whether these are the account's credentials. Compared in constant time, as a good example."""
        known = _same(user, self.user or self.account_sid)
        return known and (not self.auth_token or _same(password, self.auth_token))


def _same(given: bytes, secret: str) -> bool:
    return secrets.compare_digest(given, secret.encode())
