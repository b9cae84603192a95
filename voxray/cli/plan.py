"""What a configuration comes to: the daemon that it would make, in rows for people.

Nothing is built: the rows are made of the tables and the deciders that the daemon goes by.
"""

from __future__ import annotations

from collections.abc import Iterator

from voxray.catalog import offered
from voxray.catalog_carriers import STATIC_STREAMS
from voxray.cli import audiopath
from voxray.cli.given import Given
from voxray.config import names
from voxray.config.checks import missing_secrets
from voxray.settings import Settings
from voxray.web.hosts import stream_url
from voxray.web.rules import Rules, in_service, rules_of

Row = tuple[str, str]
UNKNOWN_HOST = "YOUR.PUBLIC.HOST"

WHERE = {
    "twilio": 'the number\'s "A call comes in": Webhook, {web}, HTTP POST',
    "telnyx": "the TeXML application's voice URL: {web}, method POST",
    "plivo": "the XML application's Primary Answer URL: {web}, method POST",
    "exotel": "the Voicebot applet: {socket} (static), or {door} (dynamic)",
}
"""What is set at each carrier, and where."""


def rows(given: Given) -> Iterator[Row]:
    """A name and what it is; a name may come again."""
    settings = given.settings
    yield "file", given.path
    serving = service(settings)
    yield from _carriers(settings, serving)
    for carrier, inbound in serving.items():
        yield "trust", f"{carrier}: {trust_of(settings, carrier)}"
        if inbound:
            yield from audiopath.lines(carrier, settings)
    for stage in names.STAGES:
        yield stage, _stage(given, stage)
    yield from _keys(given)
    yield from _place(settings)
    yield from _files(settings)


# -- carriers --------------------------------------------------------------------
def rules(settings: Settings, carrier: str) -> Rules:
    return rules_of(
        settings.calls.telephony_auth,
        secret=not missing_secrets(settings, carrier),
        static_streams=carrier in STATIC_STREAMS,
    )


def service(settings: Settings) -> dict[str, bool]:
    """The carriers in service, as the daemon decides it; true: they bring calls."""
    calls = settings.calls
    if not calls.carrier:
        return {}
    keys = settings.providers.api_keys
    every = names.CARRIERS_BUILT
    return in_service(
        calls.telephony_auth,
        calls.carrier,
        {carrier: rules(settings, carrier) for carrier in every},
        secrets={carrier for carrier in every if not missing_secrets(settings, carrier)},
        dialling={carrier for carrier in every if all(keys.get(key) for key in names.DIAL_KEYS[carrier])},
    )


def _carriers(settings: Settings, serving: dict[str, bool]) -> Iterator[Row]:
    calls, host = settings.calls, settings.server.proxy_host or UNKNOWN_HOST
    if not calls.carrier:
        yield "calls", "none: runner_transport is not set, and / is a status page"
        return
    for carrier, inbound in serving.items():
        dials = all(settings.providers.api_keys.get(key) for key in names.DIAL_KEYS[carrier])
        does = [*(["brings calls"] if inbound else []), *(["carries the calls we place"] if dials else [])]
        yield "carrier", f"{carrier} {' and '.join(does)}"
        if inbound:
            yield "set there", where(settings, carrier, host)
    if calls.carrier == names.AUTO:
        for carrier in names.CARRIERS_BUILT:
            if not serving.get(carrier):
                yield "left out", f"{carrier}: it could not be checked, and another carrier is"
    if not settings.server.proxy_host:
        yield "public host", f"proxy_host is not set: for {UNKNOWN_HOST} stands the host that is asked for"
    yield "calls", f"at most {calls.max_calls} at once"


def where(settings: Settings, carrier: str, host: str) -> str:
    """What the owner sets at the carrier. With Exotel's password in the URL the word is not shown."""
    socket, web = stream_url(host), f"https://{host}/"
    user = "" if missing_secrets(settings, carrier) else "EXOTEL_WS_USER:EXOTEL_WS_PASSWORD@"
    door, inside = (url.replace("://", f"://{user}", 1) for url in (web, socket))
    return WHERE[carrier].format(web=web, door=door, socket=inside)


def trust_of(settings: Settings, carrier: str) -> str:
    """What `telephony_auth` comes to, and what is missing for more."""
    found, mode = rules(settings, carrier), settings.calls.telephony_auth
    missing = [names.KEY_ENV[key][0] for key in missing_secrets(settings, carrier)]
    lacking = f"; set {' and '.join(missing)} to have it checked" if missing and not found.signature else ""
    if found.either:
        asked = "webhooks bring the password, sockets the password or the token of an answer"
    elif found.signature and found.token:
        asked = "webhooks are signed, sockets bring the token of the answer"
    elif found.signature:
        asked = "webhooks are signed"
    elif found.token:
        asked = "sockets bring the token of an answer, but anybody may ask for one"
    else:
        asked = "NOTHING is checked: anybody may start calls"
    return f"telephony_auth {mode}: {asked}{lacking}"


# -- providers ---------------------------------------------------------------------
def _stage(given: Given, stage: str) -> str:
    found = offered(stage, given.settings)
    what = " ".join(dict.fromkeys(word for word in (found.provider, found.model, found.voice) if word))
    return f"{what}, at {found.host}" if found.host else f"{what}, on this machine"


def _keys(given: Given) -> Iterator[Row]:
    """Which credentials are there and from where; of the needed ones also which are not."""
    settings = given.settings
    keys = settings.providers.api_keys
    wanted: dict[str, str] = {}
    for stage in names.STAGES:
        provider = getattr(settings.providers, stage).provider
        if provider in names.KEY_OF:
            wanted.setdefault(names.KEY_OF[provider], provider)
    for carrier in service(settings):
        for key in names.SECRETS_OF[carrier]:
            wanted.setdefault(key, f"{carrier}'s requests")
        for key in names.HANG_UP_KEYS.get(carrier, ()):
            wanted.setdefault(key, "hanging up")
    for key, purpose in wanted.items():
        origin = given.loaded.origins.get(f"api_keys.{key}", "")
        source = f"from {'the file' if origin.startswith('api_keys.') else origin}"
        state = source if keys.get(key) else f"MISSING ({names.KEY_ENV[key][0]}), for {purpose}"
        yield "key", f"{key}: {state}"


# -- the machine -------------------------------------------------------------------
def _place(settings: Settings) -> Iterator[Row]:
    server = settings.server
    tls = "HTTPS" if server.tls.enable else "plain HTTP"
    yield "listens", f"{server.host or 'all addresses'}, port {server.port}, {tls}"


def _files(settings: Settings) -> Iterator[Row]:
    """They are there and readable: a configuration that names others is refused."""
    tls = settings.server.tls
    named = {
        "scenario_file": settings.agent.scenario_file,
        "tls_cert_file": tls.cert_file if tls.enable else "",
        "tls_key_file": tls.key_file if tls.enable else "",
    }
    for key, path in named.items():
        if path:
            yield "reads", f"{path} ({key})"
    if settings.calls.cdr_file:
        yield "writes", f"{settings.calls.cdr_file} (cdr_file)"
