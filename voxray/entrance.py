"""What stands on the port, before the site: a proxy's PROXY header, then TLS, each where it is configured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from twisted.protocols.policies import WrappingFactory
from twisted.protocols.tls import TLSMemoryBIOFactory

from voxray.certificates import Certificates
from voxray.metrics import Metrics, TlsRecorder
from voxray.settings import ServerSettings
from voxray.web.crowd import Crowd
from voxray.web.forwarded import networks
from voxray.web.proxied import ProxiedFactory
from voxray.worker import ThreadWorker


@dataclass(frozen=True, slots=True)
class Entrance:
    """The factory to listen with, and what the service has to start, to stop and to tell of SIGHUP."""

    factory: Any
    startables: tuple[Certificates, ...] = ()
    workers: tuple[ThreadWorker, ...] = ()
    on_hangup: tuple[Callable[[], None], ...] = ()
    certificates: Certificates | None = None
    proxied: ProxiedFactory | None = None

    def use(self, server: ServerSettings) -> None:
        """Holds for connections from now on. Whether there is TLS or a PROXY header stays as it is."""
        if self.certificates is not None:
            self.certificates.use(server.tls.cert_file, server.tls.key_file)
        if self.proxied is not None:
            self.proxied.trusted = networks(server.trusted_proxies) or self.proxied.trusted


class Turnstile(WrappingFactory[Any]):
    """Closes connections that are too many, before anything is made for them; others it only passes on."""

    noisy = False

    def __init__(self, wrapped: Any, crowd: Crowd) -> None:
        super().__init__(wrapped)  # type: ignore[no-untyped-call]
        self._crowd = crowd

    def buildProtocol(self, addr: Any) -> Any:
        refused = self._crowd.refuses(getattr(addr, "host", None) or "")
        return None if refused else self.wrappedFactory.buildProtocol(addr)


def entrance(
    server: ServerSettings,
    site: Any,
    reactor: Any,
    wall_clock: Callable[[], float],
    metrics: Metrics,
    crowd: Crowd | None = None,
) -> Entrance:
    """Raises ConfigError for a certificate that cannot serve: never plain HTTP instead."""
    made = Entrance(site)
    if server.tls.enable:
        worker = ThreadWorker(reactor, "certificates", 1)
        certificates = Certificates(
            server.tls.cert_file,
            server.tls.key_file,
            worker,
            reactor,
            wall_clock,
            TlsRecorder(metrics.registry),
        )
        factory = TLSMemoryBIOFactory(certificates, False, site, reactor)
        made = Entrance(factory, (certificates,), (worker,), (certificates.reload,), certificates)
    if server.proxy_protocol:
        proxied = ProxiedFactory(made.factory, networks(server.trusted_proxies), reactor.seconds)
        made = replace(made, factory=proxied, proxied=proxied)
    return replace(made, factory=Turnstile(made.factory, Crowd() if crowd is None else crowd))
