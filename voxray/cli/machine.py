"""What `voxray doctor` looks at on this machine: limits, systemd, Redis, and the engines that run here."""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping
from typing import Any, Protocol

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from voxray import catalog
from voxray.cli.report import Finding, Verdict
from voxray.config import names
from voxray.errors import ConfigError, ProviderError
from voxray.http import HttpClient
from voxray.settings import Settings
from voxray.worker import ThreadWorker

ENGINE_SECS = 60.0
SYSTEMD_SECS = 5.0
LOST = "redis_url names the master, or its sentinels: docs/redis.md"
REFUSED = {
    "auth": "are user and password in redis_url right, and may that user do this?",
    "stale": "it loads still, or is a replica: name the master, or its sentinels",
}
FILES_A_CALL = 6  # the carrier's socket, three vendors', and some to spare
FILES_BESIDES = 100
UNIT = "voxray.service"
_SYSTEMD = "/run/systemd/system"
_ASKED = ("LoadState", "ActiveState", "SubState", "NRestarts", "LimitNOFILE")


class Startable(Protocol):
    """An engine, as the daemon starts and stops it."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


# -- limits ------------------------------------------------------------------------
def files(settings: Settings, limit: int | None = None) -> Finding:
    """Open files; `limit` is this shell's unless given."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if limit is None else limit
    calls = settings.calls.max_calls
    calls = settings.calls.max_calls
    needed = calls * FILES_A_CALL + FILES_BESIDES
    if soft == resource.RLIM_INFINITY or soft >= needed:
        here = "no limit" if soft == resource.RLIM_INFINITY else f"{soft} here"
        return Finding(Verdict.OK, "open files", f"{here}, {needed} needed for {calls} calls")
    text = f"{soft} here, and {needed} may be needed for {calls} calls"
    return Finding(Verdict.WARN, "open files", text, f"ulimit -n {needed}; in a unit LimitNOFILE={needed}")


# -- Redis -------------------------------------------------------------------------
async def redis(reactor: Any, settings: Settings) -> Finding:
    """By the daemon's own connector: master, TLS, user and password, then PING."""
    if settings.stores.session_store != "redis":
        return Finding(Verdict.SKIP, "redis", "not used: session_store is memory")
    from voxray.stores.address import parse
    from voxray.stores.connector import Connector
    from voxray.stores.replies import Lost, Refusal
    from voxray.stores.wire import WireFactory

    begun = reactor.seconds()
    try:
        address = parse(settings.stores.redis_url)
        wire = await Connector(address, reactor, WireFactory(reactor.callLater))()  # it has its own limits
    except ConfigError as error:
        return Finding(Verdict.FAIL, "redis", str(error))
    except Refusal as refusal:
        return Finding(
            Verdict.FAIL,
            "redis",
            f"{address} refuses us: {refusal}",
            REFUSED.get(refusal.meaning.value, "see its log"),
        )
    except Lost as error:
        return Finding(Verdict.FAIL, "redis", f"{address}: {error}", LOST)
    except Exception as error:  # noqa: BLE001 - a connection fails in many ways
        text = f"no connection to {address} ({type(error).__name__})"
        return Finding(Verdict.FAIL, "redis", text, "does it run, and is redis_url right?")
    wire.abort()
    return Finding(Verdict.OK, "redis", f"{address} answers, in {(reactor.seconds() - begun) * 1000:.0f} ms")


# -- systemd -----------------------------------------------------------------------
class _Output(ProcessProtocol):
    """What a program writes, and how it ends."""

    def __init__(self) -> None:
        self.ended: Deferred[tuple[str, int | None]] = Deferred()
        self._written = b""

    def outReceived(self, data: bytes) -> None:
        self._written += data

    def processEnded(self, reason: Failure) -> None:
        status = getattr(reason.value, "exitCode", None)
        self.ended.callback((self._written.decode("utf-8", "replace"), status))


async def systemd(reactor: Any, environ: Mapping[str, str]) -> Finding:
    """How the package's unit is."""
    if not os.path.isdir(_SYSTEMD):
        return Finding(Verdict.SKIP, "systemd", "it does not run here")
    asking = _Output()
    words = ["systemctl", "show", UNIT, f"--property={','.join(_ASKED)}"]
    process = reactor.spawnProcess(asking, words[0], words, dict(environ))
    patience = reactor.callLater(SYSTEMD_SECS, process.signalProcess, "KILL")
    output, status = await asking.ended
    if patience.active():
        patience.cancel()
    if status != 0:
        return Finding(Verdict.SKIP, "systemd", "systemctl does not tell")
    pairs = (line.partition("=") for line in output.splitlines())
    return unit({name: value for name, _, value in pairs})


def unit(found: Mapping[str, str]) -> Finding:
    """Pure."""
    state, restarts = found.get("ActiveState", ""), found.get("NRestarts", "0")
    if found.get("LoadState") != "loaded":
        return Finding(Verdict.SKIP, "systemd", f"there is no {UNIT}")
    if state != "active":
        text = f"{UNIT} is {state} ({found.get('SubState', '')})"
        return Finding(Verdict.WARN, "systemd", text, f"systemctl status {UNIT}")
    if restarts not in ("", "0"):
        text = f"{UNIT} is active, and was started anew {restarts} times by itself"
        return Finding(Verdict.WARN, "systemd", text, f"journalctl -u {UNIT}")
    return Finding(Verdict.OK, "systemd", f"{UNIT} is active, LimitNOFILE={found.get('LimitNOFILE', '?')}")


# -- the engines -------------------------------------------------------------------
async def engines(reactor: Any, settings: Settings) -> list[Finding]:
    """Those that run here are started as the daemon would, and stopped again."""
    http = HttpClient(reactor)
    workers = (ThreadWorker(reactor, "ears", 1), ThreadWorker(reactor, "voice", 1))
    found: list[Finding] = []
    try:
        providers = catalog.build_providers(settings, http, reactor, *workers)
        for stage, provider in zip(names.STAGES, providers.all, strict=True):
            if not catalog.offered(stage, settings).host:
                loading = _loads(reactor, f"{stage} {provider.name}", provider)
                found.append(await loading)
        found.append(await _loads(reactor, f"vad {settings.turns.vad_type}", _detector(reactor, settings)))
    except ConfigError as error:
        found.append(Finding(Verdict.FAIL, "engines", str(error)))
    finally:
        for worker in workers:
            await worker.stop()
        await http.close()
    return found


async def _loads(reactor: Any, topic: str, engine: Startable | None) -> Finding:
    if engine is None:
        return Finding(Verdict.OK, topic, "nothing to load")
    begun = reactor.seconds()
    try:
        await Deferred.fromCoroutine(engine.start()).addTimeout(ENGINE_SECS, reactor)
    except TimeoutError:
        return Finding(Verdict.FAIL, topic, f"it does not load within {ENGINE_SECS:g} s")
    except (ProviderError, ConfigError) as error:
        return Finding(Verdict.FAIL, topic, str(error))
    finally:
        await engine.stop()
    return Finding(Verdict.OK, topic, f"loaded in {reactor.seconds() - begun:.1f} s")


def _detector(reactor: Any, settings: Settings) -> Startable | None:
    if settings.turns.vad_type == "energy":
        return None
    from voxray.inference import InferenceThread, SileroVoiceActivity

    return SileroVoiceActivity(reactor, InferenceThread(reactor))
