"""What is insisted on at the three doors of `trust`, by carrier, and who is in service at all. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

AUTO = "auto"  # runner_transport: each request tells whose it is


@dataclass(frozen=True, slots=True)
class Rules:
    """What is insisted on. `either`: a genuine upgrade or a token will do (`auto`, where there are streams
    without a webhook)."""

    signature: bool = False
    token: bool = False
    either: bool = False

    @property
    def enforced(self) -> bool:
        return self.signature or self.token


def rules_of(mode: str, *, secret: bool, static_streams: bool) -> Rules:
    """`telephony_auth` of a carrier whose secret we have or not.

    `static_streams`: its streams may come to an address that no webhook ever gave out (Exotel's applet). Such
    a carrier brings either its credentials or our token, never surely both, so every mode that asks for the
    first takes the other.
    """
    if static_streams and secret and mode in ("auto", "signature", "both"):
        return Rules(True, True, either=True)
    if mode == "auto":
        return Rules(secret, secret)
    return Rules(signature=mode in ("signature", "both"), token=mode in ("token", "both"))


def in_service(
    mode: str,
    configured: str,
    rules: Mapping[str, Rules],
    *,
    secrets: Collection[str],
    dialling: Collection[str],
) -> dict[str, bool]:
    """The carriers in service; true: they bring calls, false: they only carry calls that we dial.

    With `auto` all bring calls; but where one is checked, those that are not are left out: the weakest door
    is the door. `secrets`: whose requests could be checked; `dialling`: with whom we could place calls.
    """
    enforced = mode in ("signature", "both") or any(each.signature for each in rules.values())
    found: dict[str, bool] = {}
    for name, each in rules.items():
        if each.signature and name not in secrets:
            continue  # nothing could be checked
        takes = name == configured or (configured == AUTO and (each.enforced or not enforced))
        if takes or name in dialling:
            found[name] = takes
    return found
