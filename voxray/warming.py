"""Opening the vendors' connections while a call rings.

A stranger who posts webhooks by the hundred must not make us open connections by the thousand: warming is a
favour, and those beyond a few at once go without.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxray.interfaces import Provider

MAX_AT_ONCE = 4
GAP_SECS = 0.1
"""Connections are pooled: one opened so lately serves the next call as well."""


class Warming:
    """`warm_up` of each provider, bounded in number and rate."""

    log = Logger()

    def __init__(self, providers: Sequence[Provider], clock: IReactorTime) -> None:
        # Stages of one vendor share its connections: one look serves them all.
        self._providers = tuple({provider.name: provider for provider in providers}.values())
        self._clock = clock
        self._last = float("-inf")
        self._running: set[Deferred[None]] = set()

    def call_rings(self) -> None:
        """A call is about to begin."""
        now = self._clock.seconds()
        if now - self._last < GAP_SECS or len(self._running) >= MAX_AT_ONCE * len(self._providers):
            return
        self._last = now
        for provider in self._providers:
            self._warm(provider)

    def _warm(self, provider: Provider) -> None:
        warming = Deferred.fromCoroutine(provider.warm_up())
        warming.addErrback(lambda failure: self.log.failure("warming up failed", failure))
        self._running.add(warming)
        warming.addBoth(lambda _: self._running.discard(warming))
