"""What may go wrong, by number: threats (T) and faults (F), and the tests that show what becomes of each.

`@shows("F21")` on a test, or on a class for all its tests, says which. `scripts/dangers.py` makes a table of
these and of trial's log, and fails for a number that no test shows. What can only be shown by a part that
does not exist yet is in OPEN, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

T = TypeVar("T", bound=Callable[..., Any])

DANGERS: Mapping[str, str] = MappingProxyType(
    {
        # -- threats: somebody means harm --------------------------------------
        "T1": "a stream that no carrier opened spends the vendors' credit",
        "T2": "a forged webhook",
        "T3": "genuine signatures that a proxy in between would break",
        "T4": "a webhook sent again",
        "T5": "a second stream for a call that is up",
        "T6": "a foreign call id makes us hang up on somebody else",
        "T7": "markup in Host, parameters or names reaches the answer document",
        "T8": "X-Forwarded-* of somebody who is no proxy of ours",
        "T9": "a request, an answer or a redirect makes us call an address of its choice",
        "T10": "secrets in logs, metrics, errors, command lines",
        "T11": "what callers said, and who they are, in logs and metrics",
        "T12": "line ends and escape sequences in what is logged",
        "T13": "messages without end",
        "T14": "JSON that is expensive or strange",
        "T15": "compressed bytes that unpack to very many",
        "T16": "HTTP requests and TLS handshakes that never end",
        "T17": "sockets that are opened and say nothing",
        "T18": "connections by the hundred",
        "T19": "messages by the thousand on one call",
        "T20": "a key found out by the time its comparison takes",
        "T21": "hostile ids towards Redis, hostile values in it",
        "T22": "paths that lead out of a directory",
        "T23": "weak TLS; a renewal that drops calls",
        "T24": "WebRTC offers by the thousand",
        "T25": "/metrics for strangers, and labels of their choice",
        "T26": "web pages of others that open our sockets",
        "T27": "a caller who talks the model into functions it must not call",
        "T28": "the same over IPv6",
        "T29": "calls that are kept up for ever",
        "T30": "requests that two servers read differently, odd methods",
        "T31": "libraries with known holes",
        # -- faults: vendors ---------------------------------------------------
        "F1": "a vendor refuses the key",
        "F2": "a vendor has had too many requests",
        "F3": "a vendor answers 5xx",
        "F4": "a vendor refuses or swallows connections",
        "F5": "a vendor hangs, at the first byte or in the middle",
        "F6": "event streams that are malformed",
        "F7": "answers that are cut, reset, or not what they say",
        "F8": "the transcriber's stream drops in the middle of an utterance",
        "F9": "the transcriber's stream is open and silent",
        "F10": "vendors that close idle or old streams",
        "F11": "a voice that stalls after its first words",
        "F12": "a voice far faster than real time",
        "F13": "a voice in another format, with odd bytes, or none",
        "F14": "names that are not found, or slowly",
        "F15": "a vendor's certificate that is no good",
        "F16": "a model that never stops",
        "F17": "the caller hangs up in the middle of any of these",
        # -- faults: Redis -----------------------------------------------------
        "F20": "Redis is not there at the start",
        "F21": "Redis is killed while calls are up",
        "F22": "Redis hangs",
        "F23": "Redis fails over",
        "F24": "Redis comes back empty, full, loading or with a password",
        "F25": "values in Redis that nobody of ours wrote",
        # -- faults: the media socket ------------------------------------------
        "F30": "messages that are no JSON, or of wrong types",
        "F31": "audio, keys, marks, `stop` before `start`",
        "F32": "`start` twice",
        "F33": "binary messages",
        "F34": "payloads that are no base64",
        "F35": "audio of odd sizes",
        "F36": "messages that are huge, unknown or full of strange values",
        "F37": "audio out of order, doubled, missing",
        "F38": "the carrier connects again for the same call",
        "F39": "two calls with one stream id",
        "F40": "a peer that vanishes without a word",
        "F41": "a peer that does not read",
        "F42": "every way that a socket can end",
        "F43": "fragments, pings by the thousand, frames against the rules",
        "F44": "marks that never come back, come twice, or were never sent",
        # -- faults: process and machine ---------------------------------------
        "F50": "the clock is set",
        "F51": "SIGTERM while calls are up",
        "F52": "SIGHUP while calls are up",
        "F53": "the process is killed while calls are up",
        "F54": "a disk that is full or cannot be written",
        "F55": "the event loop stands still",
        "F56": "memory that is not given back",
        "F57": "no file descriptor left",
        "F58": "more calls than there is room for",
        "F59": "no processor time, no free thread",
        "F60": "a log that nobody reads",
        "F61": "mistakes that are found at the start",
        "F62": "a tool server that hangs, floods or dies",
        "F63": "a database of transcripts that is down or slow",
    }
)

OPEN: Mapping[str, str] = MappingProxyType(
    {
        "T24": "there are no WebRTC rooms yet; /webrtc/offer is guarded, and answers 503",
        "T27": "functions are a fixed list; servers of tools (MCP), limits and audit come with them",
        "T31": "versions are pinned, their hashes are not",
        "F8": "there is no streaming transcriber yet; uploads that are cut are tried",
        "F9": "there is no streaming transcriber yet; kept connections that went silent are tried",
        "F10": "there is no streaming vendor yet; kept connections that the vendor closes are tried",
        "F38": "a call that connects again begins anew: its conversation is not kept",
        "F54": "there are no recordings yet; of what is written today the call records are tried",
        "F62": "there are no tool servers yet",
        "F63": "there is no database of transcripts yet",
    }
)
"""What part of it is open, and why. A number may be open in part: then it has tests as well."""


def shows(*numbers: str) -> Callable[[T], T]:
    """Marks a test, or a class of them, as one that shows what becomes of these dangers."""
    for number in numbers:
        if number not in DANGERS:
            raise ValueError(f"{number} is no danger that tests/dangers.py knows")

    def mark(test: T) -> T:
        test.dangers = (*getattr(test, "dangers", ()), *numbers)  # type: ignore[attr-defined]
        return test

    return mark


def shown_by(test_case: type, method: str) -> frozenset[str]:
    """The numbers of one test: its own and its class's."""
    of_test = getattr(getattr(test_case, method), "dangers", ())
    return frozenset((*getattr(test_case, "dangers", ()), *of_test))
