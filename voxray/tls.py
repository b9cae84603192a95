"""The site behind TLS, from the two files of the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from OpenSSL.SSL import Error as SslError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.ssl import PrivateCertificate
from twisted.protocols.tls import TLSMemoryBIOFactory

from voxray.errors import ConfigError
from voxray.settings import TlsSettings


def with_tls(tls: TlsSettings, site: Any, clock: IReactorTime) -> Any:
    """The site itself where TLS is off. Raises ConfigError for files that cannot serve."""
    if not tls.enable:
        return site
    try:
        pem = Path(tls.key_file).read_bytes() + b"\n" + Path(tls.cert_file).read_bytes()
        context = PrivateCertificate.loadPEM(pem).options()
        context.getContext()
    except (OSError, SslError, ValueError) as error:
        raise ConfigError(f"tls_cert_file and tls_key_file cannot be used: {error}") from error
    return TLSMemoryBIOFactory(context, False, site, clock)
