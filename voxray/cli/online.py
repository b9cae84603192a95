"""`voxray check --online`: each vendor and each carrier is asked whether it knows us.

By the daemon's own clients, so that what fails here would fail there; nothing is tried twice.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from voxray import catalog, catalog_carriers
from voxray.cli.plan import service
from voxray.cli.report import Finding, Paper, Verdict
from voxray.cli.running import with_reactor
from voxray.config import names
from voxray.errors import CarrierError, ErrorKind, ProviderError
from voxray.http import HttpClient
from voxray.httpstream import Deadlines
from voxray.probing import Probed
from voxray.settings import Settings

DEADLINES = Deadlines(connect=5.0, first_byte=8.0, gap=5.0, total=10.0)

REMEDIES = {
    ErrorKind.QUOTA: "see to the account's credit",
    ErrorKind.TRANSPORT: "is this machine online, and base_urls right?",
    ErrorKind.TIMEOUT: "is this machine online, and base_urls right?",
    ErrorKind.BAD_ANSWER: "is base_urls right?",
}


def try_all(settings: Settings, progress: Paper | None) -> list[Finding]:
    """Runs a reactor for it, as only the last thing of a process can."""
    return with_reactor(lambda reactor: tries(reactor, settings, progress))


async def tries(reactor: Any, settings: Settings, progress: Paper | None) -> list[Finding]:
    """One finding for each that can be asked."""
    return [
        *await _vendors(reactor, settings, progress),
        *await _carriers(reactor, settings, progress),
    ]


async def _vendors(reactor: Any, settings: Settings, progress: Paper | None) -> list[Finding]:
    http, found = HttpClient(reactor), []
    try:
        for probe in catalog.host_probes(settings):
            _tell(progress, f"asking {probe.host.name} at {probe.host.base_url} ...")
            found.append(await _vendor(probe.host.name, probe.probe(http, DEADLINES)))
    finally:
        await http.close()
    return found


async def _carriers(reactor: Any, settings: Settings, progress: Paper | None) -> list[Finding]:
    client, found = catalog_carriers.rest_client(reactor, persistent=False), []
    for carrier in service(settings):
        control = catalog_carriers.build_carrier(carrier).control(settings, client, reactor)
        lacking = [name for key, name in _needed(carrier) if not settings.providers.api_keys.get(key)]
        if control is None or lacking:
            text = f"its API is not tried: {' and '.join(lacking)} not set"
            found.append(Finding(Verdict.SKIP, carrier, text))
            continue
        _tell(progress, f"asking {carrier} at {catalog_carriers.api_url(carrier, settings)} ...")
        found.append(await _carrier(carrier, control.probe()))
    return found


async def _vendor(name: str, probing: Coroutine[Any, Any, Probed]) -> Finding:
    try:
        return _good(name, await probing)
    except ProviderError as error:
        refused = f"is {names.KEY_ENV[name][0]} right? make a new key"
        remedy = refused if error.kind is ErrorKind.AUTH else REMEDIES.get(error.kind, "")
        return Finding(Verdict.FAIL, name, str(error), remedy)


async def _carrier(name: str, probing: Coroutine[Any, Any, Probed]) -> Finding:
    try:
        return _good(name, await probing)
    except CarrierError as error:
        variables = " and ".join(variable for _, variable in _needed(name))
        remedy = f"are {variables} right?" if error.status else "is this machine online, and base_urls right?"
        return Finding(Verdict.FAIL, name, str(error), remedy)


def _good(name: str, probed: Probed) -> Finding:
    if probed.doubt:
        return Finding(Verdict.WARN, name, f"{probed.text}, but {probed.doubt}")
    return Finding(Verdict.OK, name, probed.text)


def _needed(carrier: str) -> list[tuple[str, str]]:
    """The credentials without which its API cannot be asked, and their variables."""
    keys = names.HANG_UP_KEYS.get(carrier, names.DIAL_KEYS[carrier])
    return [(key, names.KEY_ENV[key][0]) for key in keys]


def _tell(progress: Paper | None, text: str) -> None:
    if progress is not None:
        progress.line(text)
