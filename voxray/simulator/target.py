"""Whom the simulator calls, as whom, and where that is really connected to.

Only loopback unless allowed otherwise. When the webhook is on loopback, everything goes to the webhook's own
host and port, whatever public name a URL has: that is what the carrier's network and the proxy in front of
the daemon would have done. What is signed is the public URL.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit, urlunsplit

from voxray.simulator.carriers import CARRIERS, Carrier
from voxray.simulator.signing import Secrets, Signer, Unsigned
from voxray.simulator.wires.vocabulary import CallIds, Numbers

DEFAULT_ACCOUNT_SID = CARRIERS["twilio"].default_account


class DialFailed(Exception):
    """The call could not be placed; one line, for people."""


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to call, and as whom."""

    url: str  # the webhook
    via: str = ""  # host:port for the media socket, plain ws; empty: see the module
    public_url: str = ""  # what the webhook's signature covers; empty: `url`; without a path: `url`'s
    from_number: str = "+15558675310"
    to_number: str = "+15017122661"
    account_sid: str = DEFAULT_ACCOUNT_SID
    auth_token: str = field(default="", repr=False)  # Twilio's and Plivo's; empty: requests are not signed
    allow_remote: bool = False
    carrier: str = "twilio"
    method: str = ""  # of the webhook; empty: the carrier's own
    stream_url: str = ""  # Exotel's static applet: no webhook is asked
    secrets: Secrets = field(
        default_factory=Secrets
    )  # the other carriers', and how; its token is `auth_token`

    @property
    def side(self) -> Carrier:
        return CARRIERS[self.carrier]

    @property
    def numbers(self) -> Numbers:
        return Numbers(self.from_number, self.to_number)

    @property
    def public(self) -> str:
        """The webhook's URL as the carrier has it."""
        if not self.public_url:
            return self.url
        public, own = urlsplit(self.public_url), urlsplit(self.url)
        if public.path or public.query:
            return self.public_url
        return urlunsplit(public._replace(path=own.path, query=own.query))

    @property
    def signer(self) -> Signer:
        """Raises BadKey."""
        kept = self.secrets
        if kept.scheme == "none":
            return Unsigned()
        return self.side.signer(kept if kept.token else replace(kept, token=self.auth_token))


def new_ids(account_sid: str, carrier: str = "twilio") -> CallIds:
    """Fresh ids of the carrier's shape."""
    return CARRIERS[carrier].new_ids(account_sid)


def is_loopback(host: str) -> bool:
    """Whether a name or address can only be this machine. Names other than localhost are not looked up."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_local(host: str, allow_remote: bool) -> None:
    """Raises DialFailed for a host that is another machine, unless allowed."""
    if not allow_remote and not is_loopback(host):
        raise DialFailed(f"{host!r} is not this machine; --allow-remote lets calls leave it")


@dataclass(frozen=True, slots=True)
class Address:
    """Where the media socket is opened."""

    host: str
    port: int
    tls: bool


def media_address(target: Target, stream_url: str) -> Address:
    """Where to connect for this answer. Raises DialFailed when that is not loopback and may not be."""
    webhook, stream = urlsplit(target.url), urlsplit(stream_url)
    if target.via:
        via = urlsplit(f"//{target.via}")
        address = Address(via.hostname or "", via.port or 80, tls=False)
    elif is_loopback(webhook.hostname or ""):
        secure = webhook.scheme == "https"
        address = Address(webhook.hostname or "", webhook.port or (443 if secure else 80), tls=secure)
    else:
        secure = stream.scheme == "wss"
        address = Address(stream.hostname or "", stream.port or (443 if secure else 80), tls=secure)
    check_local(address.host, target.allow_remote)
    return address


def reached(target: Target, public: str) -> str:
    """The URL that is really asked for a public one of the agent's: its path at the webhook's address.

    Raises DialFailed for another machine, unless allowed.
    """
    webhook, parts = urlsplit(target.url), urlsplit(public)
    if is_loopback(webhook.hostname or ""):
        parts = parts._replace(scheme=webhook.scheme, netloc=webhook.netloc)
    check_local(parts.hostname or "", target.allow_remote)
    return urlunsplit(parts)
