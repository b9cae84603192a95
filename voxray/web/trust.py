"""Who may start a call: the policy for webhooks, media sockets and streams. Decides; touches no socket.

Three doors, each shut on its own (threats T1 to T6):

1. the *webhook* is signed by its carrier;
2. the *upgrade* to a media socket has the token of an answer of ours in its path, or will bring it in
   `start` (where the carrier passes `<Parameter>`s on), and is signed where the carrier signs upgrades;
3. the *start* of the stream is of the very call that the token was minted for, the token is spent with it,
   and there is no other stream of that call.

Which of these are shut is `telephony_auth`. Vendors are not asked for anything before the third.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit
from uuid import uuid4

from voxray.call.expected import Expectations, Expected, Welcome
from voxray.frames import IncomingCall, StreamStarted
from voxray.interfaces import AnswerDocuments, Authenticity, Proof, Serializer, SignedRequest
from voxray.web import comeback
from voxray.web.hosts import loggable
from voxray.web.rules import Rules
from voxray.web.tokens import ANY, Claim, Fault, StreamTokens

TOKEN_PARAMETER = "voxray_token"
"""The `<Parameter>` that repeats the path's token, for a proxy that swallows paths."""


@dataclass(frozen=True, slots=True)
class Trunk:
    """One carrier in service. `inbound` false: it only carries calls that we dialled."""

    documents: AnswerDocuments
    serializer: Callable[[Mapping[str, str]], Serializer]
    authenticity: Authenticity | None = None
    rules: Rules = field(default_factory=Rules)
    parameters: bool = False  # `<Parameter>`s of the answer come back in `start`
    challenge: str = ""  # WWW-Authenticate of a refused upgrade
    unsigned_status: bool = False  # it signs no report; that one names our secret id of the call will do
    inbound: bool = True
    back: comeback.Documents | None = None  # callers of a stream that broke are to come back

    @property
    def name(self) -> str:
        return self.documents.name


@dataclass(frozen=True, slots=True)
class Refused:
    """Not let in. `reason` is a bounded label; `hint` is for the owner's log, without secrets.

    `challenge`: how the client might have authenticated itself, for a 401.
    """

    reason: str
    hint: str = ""
    challenge: str = ""
    later: bool = False
    """It is not the visitor's fault: status 503."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """A webhook that is let in. `dialed` is the call of ours that it is about, if it is."""

    trunk: Trunk
    call: IncomingCall
    verified: bool
    form: Mapping[str, str] = field(default_factory=dict, repr=False)
    dialed: Expected | None = None


@dataclass(frozen=True, slots=True)
class Ticket:
    """An upgrade that is let in, up to its `start`.

    `trunk` is None when the stream itself has to tell whose it is; then `request` is still to be judged.
    """

    trunk: Trunk | None
    request: SignedRequest
    claim: Claim | None = None
    genuine: bool = False


class Doorkeeper:
    """The policy, with what it has to remember: spent tokens and announced calls."""

    def __init__(
        self,
        trunks: Mapping[str, Trunk],
        configured: str,
        *,
        tokens: StreamTokens,
        expectations: Expectations,
        live: Callable[[str, str], bool],
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        recognise: Callable[[Mapping[str, str]], str] = lambda form: "",
        dialed: Callable[[str], Expected | None] = lambda dial_id: None,
    ) -> None:
        """`configured`: the carrier of requests that name no call of ours; "" leaves it to `recognise(form)`.

        `live(carrier, call_sid)`: the call has a stream now. `dialed(id)`: a call of ours, its `call_sid`
        empty while only the carrier knows it.
        """
        self._trunks, self._configured = trunks, configured
        self._tokens, self._expectations, self.live = tokens, expectations, live
        self._clock, self._wall_clock = clock, wall_clock
        self._recognise, self._dialed = recognise, dialed

    # -- the webhook -----------------------------------------------------------
    def trunk_of(self, form: Mapping[str, str], dial_id: str = "") -> Trunk | None:
        """Whose webhook this is; None: nobody's that we serve."""
        if dial_id:
            dialed = self._dialed(dial_id)
            return self._trunks.get(dialed.carrier) if dialed else None
        trunk = self._trunks.get(self._configured or self._recognise(form))
        return trunk if trunk is not None and trunk.inbound else None

    def visitor(
        self,
        trunk: Trunk,
        request: SignedRequest,
        form: Mapping[str, str],
        dial_id: str,
        *,
        status: bool = False,
    ) -> Visitor | Refused:
        """A request that says it is `trunk`'s; `status`: it only reports on the call of ours it names."""
        verified = False
        if trunk.rules.signature and not (status and trunk.unsigned_status and dial_id):
            assert trunk.authenticity is not None
            proof = trunk.authenticity.webhook(request, self._wall_clock())
            if proof is not Proof.GENUINE:
                return Refused(f"webhook_{proof.value}", _worded(trunk, proof, request))
            verified = True
        call = trunk.documents.incoming(form)
        dialed = self._dialed(dial_id) if dial_id else None
        if dialed is not None and dialed.call_sid and dialed.call_sid != call.call_sid:
            return Refused("webhook_other_call")
        return Visitor(trunk, call, verified, form, dialed)

    def awaits(self, visitor: Visitor) -> bool:
        """The call has its place already: ours, or one whose webhook was answered and comes again."""
        name, sid = visitor.trunk.name, visitor.call.call_sid
        return visitor.dialed is not None or (
            bool(sid) and self._expectations.get(name, sid, self._clock()) is not None
        )

    def answered(self, visitor: Visitor) -> Expected | None:
        """The call whose stream the answer is about to ask for, from now on expected, with its token.

        Asked again before the stream came, it is the same one. None: there must be no (other) stream, because
        the call has one or is over, and the request may be a replay.
        """
        trunk, call, now = visitor.trunk, visitor.call, self._clock()
        name, sid = trunk.name, call.call_sid
        if visitor.dialed is not None and visitor.dialed.over:
            return None
        had_one = self.live(name, sid) or self._expectations.is_over(name, sid, now)
        if trunk.rules.enforced and sid and had_one:
            return None
        known = self._expectations.get(name, sid, now) if sid else None
        if known is not None and known.verified >= visitor.verified:
            return known
        expected = visitor.dialed or Expected(uuid4().hex, name, sid, call.from_number, call.to_number)
        token = self._token_for(trunk, sid, ours=visitor.dialed is not None)
        expected = replace(
            expected, call_sid=sid, verified=visitor.verified or expected.outbound, token=token
        )
        if sid:
            self._expectations.add(expected, now)
        return expected

    def _token_for(self, trunk: Trunk, sid: str, *, ours: bool) -> str:
        """A token for the answer's stream. Calls of ours always have one: it tells whose stream it is.

        Where a carrier may not say which call it asks for, the token is for any one stream.
        """
        if sid and (trunk.rules.token or ours):
            return self._tokens.mint(trunk.name, sid, self._wall_clock())
        if not sid and trunk.rules.either:
            return self._tokens.mint(trunk.name, f"{ANY}{uuid4().hex}", self._wall_clock())
        return ""

    # -- the upgrade -----------------------------------------------------------
    def ticket(self, request: SignedRequest, token: str) -> Ticket | Refused:
        """A WebSocket upgrade, before it is answered; `token` is what its path has."""
        read = self._tokens.read(token, self._wall_clock()) if token else None
        claim = read if isinstance(read, Claim) else None
        trunk = self._trunks.get(claim.carrier if claim else self._configured)
        if trunk is None:
            return Ticket(None, request, claim)
        if isinstance(read, Fault) and trunk.rules.token:
            return Refused(read.value, challenge=trunk.challenge)
        if not trunk.inbound and claim is None:
            return Refused("upgrade_unasked")
        return self._judged(Ticket(trunk, request, claim), trunk)

    def _judged(self, ticket: Ticket, trunk: Trunk) -> Ticket | Refused:
        """What an upgrade has to bring to this carrier's door."""
        rules, authenticity, proof = trunk.rules, trunk.authenticity, Proof.UNSIGNED
        if authenticity is not None:
            proof = authenticity.upgrade(ticket.request, self._wall_clock())
        ticket = replace(ticket, trunk=trunk, genuine=proof is Proof.GENUINE)
        if rules.either and (ticket.genuine or ticket.claim is not None):
            return ticket
        if (
            rules.signature
            and authenticity is not None
            and authenticity.signs_upgrades
            and not ticket.genuine
        ):
            return Refused(f"upgrade_{proof.value}", challenge=trunk.challenge)
        if rules.token and ticket.claim is None and not trunk.parameters:
            return Refused("token_missing", challenge=trunk.challenge)
        return ticket

    @property
    def awaits_streams(self) -> bool:
        """A call was announced so lately that its stream is still to come."""
        return self._expectations.on_their_way(self._clock()) > 0

    # -- the start -------------------------------------------------------------
    def welcome(self, ticket: Ticket, trunk: Trunk, started: StreamStarted) -> Welcome | Refused:
        """The `start` of a stream. Here its token is spent: an upgrade may fail and come again."""
        if ticket.trunk is None:
            judged = self._judged(ticket, trunk)
            if isinstance(judged, Refused):
                return judged
            ticket = judged
        claim = ticket.claim or self._claim_in_start(trunk, started)
        if isinstance(claim, Fault):
            if trunk.rules.token and not (trunk.rules.either and ticket.genuine):
                return Refused(claim.value)
            claim = None
        if claim is None:
            return self._without_token(ticket, trunk, started)
        expected = self._claimed(claim, trunk, started.call_sid)
        if expected is None:
            if trunk.rules.token:
                return Refused("token_other_call")
            return self._without_token(ticket, trunk, started)
        if self._no_more_ours(expected):
            return Refused("call_over")
        now = self._wall_clock()
        if (fault := self._tokens.spend(claim, now)) is not None:
            return Refused(fault.value)
        replaces = self.live(trunk.name, started.call_sid)
        self._expectations.began(trunk.name, started.call_sid)
        return Welcome(trunk.name, expected, replaces, claim.nonce, claim.expires_at - now)

    def dial_id(self, ticket: Ticket, trunk: Trunk, started: StreamStarted) -> str:
        """Our id of the call that the stream says it is, where it was dialled."""
        claim = ticket.claim or self._claim_in_start(trunk, started)
        return claim.dial_id if isinstance(claim, Claim) else ""

    def _no_more_ours(self, expected: Expected | None) -> bool:
        """A call that we placed and have given up since."""
        if expected is None or not expected.outbound:
            return False
        dialed = self._dialed(expected.call_id)
        return dialed is None or dialed.over

    def _claim_in_start(self, trunk: Trunk, started: StreamStarted) -> Claim | Fault | None:
        token = started.parameters.get(TOKEN_PARAMETER, "")
        return self._tokens.read(token, self._wall_clock()) if token else None

    def _claimed(self, claim: Claim, trunk: Trunk, call_sid: str) -> Expected | None:
        """The call that a token is for; None when it is another than the one that came with it."""
        carrier = trunk.name
        if claim.carrier != carrier:
            return None
        if claim.dial_id:
            dialed = self._dialed(claim.dial_id)
            if dialed is None or dialed.carrier != carrier or dialed.call_sid not in ("", call_sid):
                return None
            return replace(dialed, call_sid=call_sid, verified=True)
        if claim.subject.startswith(ANY):
            return Expected(uuid4().hex, carrier, call_sid, verified=trunk.rules.signature)
        if claim.subject != call_sid:
            return None
        known = self._expectations.get(carrier, call_sid, self._clock())
        if known is None:  # another node, or this one before a restart, answered the webhook
            return Expected(uuid4().hex, carrier, call_sid, verified=trunk.rules.signature)
        return known

    def _without_token(self, ticket: Ticket, trunk: Trunk, started: StreamStarted) -> Welcome | Refused:
        rules, name, sid = trunk.rules, trunk.name, started.call_sid
        if rules.token and not (rules.either and ticket.genuine):
            return Refused("token_missing")
        if self.live(name, sid):
            return Refused("second_stream")
        expected = self._expectations.get(name, sid, self._clock())
        if rules.signature and not ticket.genuine and not (expected and expected.verified):
            return Refused("call_not_announced")
        if not trunk.inbound:
            return Refused("upgrade_unasked")
        if self._no_more_ours(expected):
            return Refused("call_over")
        self._expectations.began(name, sid)
        return Welcome(name, expected)


def _worded(trunk: Trunk, proof: Proof, request: SignedRequest) -> str:
    """What the owner should look at; the query stays out, for it may hold numbers."""
    if proof is Proof.UNSIGNED:
        return trunk.authenticity.advice if trunk.authenticity is not None else ""
    if proof is Proof.STALE:
        return (
            "its timestamp is over 300 s from this machine's clock: a replay, or one of the clocks is wrong"
        )
    parts = urlsplit(request.url)
    url = f"{parts.scheme}://{parts.netloc}{loggable(parts.path)}"
    return (
        f"checked against {url}: proxy_host must be the host that the carrier dials, and the key that "
        "account's; telephony_auth: off lets everybody in"
    )
