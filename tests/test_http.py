"""HTTP towards vendors: deadlines, retries, cancelling, and nothing left behind. Over loopback."""

from __future__ import annotations

import socket
from contextlib import aclosing, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from tests.vendor import CLOSE, END, HANG, RESET, VendorTestCase, answer, chunk, chunked, head
from voxray.errors import ErrorKind, ProviderError
from voxray.http import HttpRequest
from voxray.httpstream import HIGH_WATER_BYTES, Deadlines, Watchdog
from voxray.retries import (
    NEVER,
    ON_A_CALL,
    Failure,
    delay_before_retry,
    kind_of_status,
    retry_after,
    should_retry,
)

OK = [answer(b"{}")]
NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


class HttpTestCase(VendorTestCase):
    def ask(self, **changes: object) -> HttpRequest:
        request = HttpRequest("POST", self.base + "/x", "acme", {"Authorization": "Bearer k"}, b"{}")
        return replace(request, **changes)

    async def failure(self, **changes: object) -> ProviderError:
        try:
            await self.http.request(self.ask(**changes))
        except ProviderError as e:
            return e
        raise AssertionError("no error")

    async def after(self, work: Deferred[object], secs: float) -> ProviderError:
        """The error `work` ends in when nothing happens for `secs`, and not before."""
        await self.until(lambda: self.vendor.requests)
        self.clock.advance(secs - 0.1)
        self.assertFalse(work.called)
        self.clock.advance(0.2)
        try:
            await work
        except ProviderError as e:
            return e
        raise AssertionError("no error")


class RequestTests(HttpTestCase):
    async def test_whole_answer(self) -> None:
        """Status, headers and body come back; body, key and our wishes about encoding went out."""
        self.script([answer(b'{"a": 1}', X_Request_Id="r1")])
        got = await self.http.request(self.ask(body=b"hello"))
        self.assertEqual((got.status, got.headers["x-request-id"], got.body), (200, "r1", b'{"a": 1}'))
        sent = self.vendor.requests[0]
        self.assertEqual((sent.method, sent.path, sent.body), ("POST", "/v1/x", b"hello"))
        self.assertEqual(sent.headers["authorization"], "Bearer k")
        self.assertEqual(sent.headers["accept-encoding"], "identity")

    async def test_connection_is_kept(self) -> None:
        """The second request uses the first one's connection."""
        self.script(OK)
        for _ in range(3):
            await self.http.request(self.ask())
        self.assertEqual((len(self.vendor.requests), self.vendor.connections), (3, 1))

    @shows("T10")
    async def test_headers_are_not_shown(self) -> None:
        """The repr of a request holds neither key nor body."""
        shown = repr(self.ask(body=b"secret words"))
        self.assertNotIn("Bearer", shown)
        self.assertNotIn("secret", shown)

    @shows("F1")
    async def test_statuses(self) -> None:
        """Each refusal has its kind; what cannot pass is asked once."""
        for status, kind in (
            (301, ErrorKind.BAD_ANSWER),
            (400, ErrorKind.BAD_REQUEST),
            (401, ErrorKind.AUTH),
            (402, ErrorKind.QUOTA),
            (403, ErrorKind.AUTH),
            (404, ErrorKind.BAD_REQUEST),
        ):
            self.script([answer(b"", status=status, Location=self.base + "/elsewhere")])
            self.vendor.requests.clear()
            error = await self.failure()
            self.assertEqual((error.kind, error.status), (kind, status))
            self.assertEqual(len(self.vendor.requests), 1, f"{status} was tried again, or followed")

    async def test_expected_status(self) -> None:
        """A caller may call a status welcome."""
        self.script([answer(b"gone", status=404)])
        got = await self.http.request(self.ask(expect={404}))
        self.assertEqual((got.status, got.body), (404, b"gone"))

    @shows("F3")
    async def test_500_then_200(self) -> None:
        """A server error is tried again after half a second."""
        self.script([answer(b"", status=500)], OK)
        work = Deferred.fromCoroutine(self.http.request(self.ask()))
        await self.until(self.pausing)
        self.assertFalse(work.called)
        self.clock.advance(0.5)
        self.assertEqual((await work).status, 200)

    @shows("F3")
    async def test_500_for_ever(self) -> None:
        """Three tries in all, within the budget; then the error."""
        self.script([answer(b"", status=503)])
        work = Deferred.fromCoroutine(self.failure())
        for tries, delay in ((1, 0.5), (2, 1.0)):
            await self.until(lambda n=tries: len(self.vendor.requests) == n and self.pausing())
            self.clock.advance(delay)
        error = await work
        self.assertEqual((error.kind, error.status), (ErrorKind.OVERLOADED, 503))
        self.assertEqual(len(self.vendor.requests), 3)
        self.assertEqual(self.clock.seconds(), 1.5)

    @shows("F2")
    async def test_429_with_delay(self) -> None:
        """A short Retry-After is honoured, a long one is an error that says so."""
        self.script([answer(b"", status=429, Retry_After="1.25")], OK)
        work = Deferred.fromCoroutine(self.http.request(self.ask()))
        await self.until(self.pausing)
        self.clock.advance(1.24)
        self.assertEqual(len(self.vendor.requests), 1)
        self.clock.advance(0.02)
        self.assertEqual((await work).status, 200)
        self.script([answer(b"", status=429, Retry_After="30")])
        error = await self.failure()
        self.assertEqual((error.kind, error.retry_after_secs), (ErrorKind.RATE, 30.0))

    async def test_cancelled_while_waiting_to_retry(self) -> None:
        """Cancelling between two tries ends it: no timer, no second request."""
        self.script([answer(b"", status=500)])
        work = Deferred.fromCoroutine(self.http.request(self.ask()))
        await self.until(self.pausing)
        work.cancel()
        await self.assertFailure(work, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    @shows("F7")
    async def test_stale_connection(self) -> None:
        """A kept connection that dies under a POST, without a byte, costs one more try, not the turn."""
        self.script(OK, [CLOSE], OK)
        await self.http.request(self.ask())
        self.assertEqual((await self.http.request(self.ask())).status, 200)
        self.assertEqual((len(self.vendor.requests), self.vendor.connections), (3, 2))

    async def test_closes_without_a_byte(self) -> None:
        """A vendor that always hangs up is tried twice."""
        self.script([CLOSE])
        error = await self.failure()
        self.assertEqual(error.kind, ErrorKind.TRANSPORT)
        self.assertEqual(len(self.vendor.requests), 2)

    @shows("F7")
    async def test_cut_after_a_byte(self) -> None:
        """Once a byte of the answer came, a POST is not repeated: it may have been carried out."""
        for script in ([b"HTTP/1.1 20", CLOSE], [answer(b"x" * 9)[:-3], CLOSE], [head(), b"5\r\nab", CLOSE]):
            self.script(script)
            self.vendor.requests.clear()
            error = await self.failure()
            self.assertEqual(error.kind, ErrorKind.TRANSPORT)
            self.assertEqual(len(self.vendor.requests), 1)

    @shows("F7")
    async def test_reset(self) -> None:
        """RST before and within the answer is a transport error."""
        for script in ([RESET], [head(), chunk(b"ab"), RESET]):
            self.script(script)
            self.assertEqual((await self.failure(retries=NEVER)).kind, ErrorKind.TRANSPORT)

    @shows("F4")
    async def test_refused(self) -> None:
        """Nobody listens: a transport error, after one more try."""
        port = self.port.getHost().port
        await self.port.stopListening()
        error = await self.failure(url=f"http://127.0.0.1:{port}/")
        self.assertEqual(error.kind, ErrorKind.TRANSPORT)
        self.assertIn("refused", str(error))

    @shows("T15", "F7")
    async def test_not_http(self) -> None:
        """Garbage, broken chunks and unasked compression are bad answers."""
        for script in (
            [b"SSH-2.0-OpenSSH_9\r\n\r\n"],
            [head(), b"zz\r\nabc\r\n"],
            [answer(b"\x1f\x8b", Content_Encoding="gzip")],
        ):
            self.script(script)
            self.assertEqual((await self.failure()).kind, ErrorKind.BAD_ANSWER)
            await self.vendor_sees_the_end()

    @shows("F7")
    async def test_too_long(self) -> None:
        """An answer without end is cut off at the limit, and its connection dropped."""
        self.script([head(), *[chunk(b"x" * 10_000)] * 8])
        with self.assertRaises(ProviderError) as caught:
            await self.http.request(self.ask(), max_bytes=50_000)
        self.assertEqual(caught.exception.kind, ErrorKind.BAD_ANSWER)
        await self.vendor_sees_the_end()

    async def test_warm_up(self) -> None:
        """It opens a connection which the next request uses; it never raises."""
        self.script([answer(b"{}", status=401)], OK)
        await self.http.warm_up(self.base + "/models", provider="acme", headers={"Authorization": "x"})
        await self.until(lambda: not self.clock.getDelayedCalls())
        await self.http.request(self.ask())
        self.assertEqual((len(self.vendor.requests), self.vendor.connections), (2, 1))
        await self.http.warm_up("http://127.0.0.1:1/", provider="acme")

    async def test_told_of(self) -> None:
        """Who counts retries hears of each; connections are counted until they are closed, idle ones too."""
        heard: list[str] = []
        self.http.retried = lambda request: heard.append(request.model)
        self.script([answer(b"", status=503, Retry_After="0")], [answer(b"", status=503)], OK)
        asking = Deferred.fromCoroutine(self.http.request(self.ask(model="m-1")))
        while not asking.called:
            if self.pausing():
                self.clock.advance(2)
            await self.turns(1)
        await asking.addErrback(lambda failure: failure.trap(ProviderError))
        self.assertEqual(set(heard), {"m-1"})
        self.assertEqual(len(heard), len(self.vendor.requests) - 1)
        self.assertEqual(self.http.connections, 1)
        await self.http.close()
        self.assertEqual(self.http.connections, 0)


@shows("F5")
class DeadlineTests(HttpTestCase):
    async def test_no_answer(self) -> None:
        """No byte within 5 s."""
        self.script([HANG])
        error = await self.after(Deferred.fromCoroutine(self.http.request(self.ask())), 5.0)
        self.assertEqual(error.kind, ErrorKind.TIMEOUT)
        await self.vendor_sees_the_end()

    async def test_headers_only(self) -> None:
        """Headers do not count as an answer: still 5 s from the start."""
        self.script([head()])
        work = Deferred.fromCoroutine(self.http.open(self.ask()))
        stream = await work
        error = await self.after(Deferred.fromCoroutine(stream.read()), 5.0)
        self.assertEqual(error.kind, ErrorKind.TIMEOUT)
        await self.vendor_sees_the_end()

    async def test_gap(self) -> None:
        """3 s between two pieces of the body."""
        self.script([head(), chunk(b"one")])
        stream = await self.http.open(self.ask())
        self.assertEqual(await stream.read(), b"one")
        error = await self.after(Deferred.fromCoroutine(stream.read()), 3.0)
        self.assertEqual(error.kind, ErrorKind.TIMEOUT)
        await self.vendor_sees_the_end()

    async def test_total(self) -> None:
        """A trickle ends after 30 s of our waiting; time in which we do not read is free."""
        self.script([head(), chunk(b"x")])
        stream = await self.http.open(self.ask())
        await stream.read()
        (connection,) = self.vendor.open
        self.clock.advance(100)
        for _ in range(14):
            work = Deferred.fromCoroutine(stream.read())
            self.clock.advance(2)
            connection.transport.write(chunk(b"x"))
            await work
        error = await self.after(Deferred.fromCoroutine(stream.read()), 2.0)
        self.assertEqual(error.kind, ErrorKind.TIMEOUT)

    @shows("F4")
    async def test_connect(self) -> None:
        """A host that takes no connection is given up after 3 s; the socket is closed."""
        # A listener whose queue is full: the kernel leaves the next SYN without an answer.
        full = [socket.socket() for _ in range(4)]
        for one in full:
            self.addCleanup(one.close)
        full[0].bind(("127.0.0.1", 0))
        full[0].listen(0)
        for one in full[1:]:
            one.setblocking(False)
            one.connect_ex(full[0].getsockname())
        url = f"http://127.0.0.1:{full[0].getsockname()[1]}/"
        work = Deferred.fromCoroutine(self.http.request(self.ask(url=url)))
        await self.turns(3)
        self.clock.advance(2.9)
        self.assertFalse(work.called)
        self.clock.advance(0.2)
        with self.assertRaises(ProviderError) as caught:
            await work
        self.assertEqual(caught.exception.kind, ErrorKind.TIMEOUT)
        self.assertIn("no connection", str(caught.exception))

    async def test_own_deadlines(self) -> None:
        """A request may bring its own."""
        self.script([HANG])
        ask = self.ask(deadlines=Deadlines(first_byte=1.0), retries=NEVER)
        error = await self.after(Deferred.fromCoroutine(self.http.request(ask)), 1.0)
        self.assertEqual(error.kind, ErrorKind.TIMEOUT)


class StreamTests(HttpTestCase):
    async def test_pieces(self) -> None:
        """All bytes, in order; the connection is kept for the next request."""
        self.script(chunked(b"abcdefgh", size=3), OK)
        got = b""
        async with aclosing(self.http.stream(self.ask())) as pieces:
            async for piece in pieces:
                got += piece
        self.assertEqual(got, b"abcdefgh")
        await self.http.request(self.ask())
        self.assertEqual(self.vendor.connections, 1)

    async def test_until_close(self) -> None:
        """An answer without length ends with its connection, and is marked as not certainly whole."""
        self.script([b"HTTP/1.1 200 OK\r\n\r\nabc", CLOSE])
        stream = await self.http.open(self.ask())
        self.assertEqual((await stream.read(), await stream.read()), (b"abc", b""))
        self.assertFalse(stream.complete)

    @shows("F17")
    async def test_aclose(self) -> None:
        """Closing the generator early drops the connection at once."""
        self.script([head(), chunk(b"one")])
        async with aclosing(self.http.stream(self.ask())) as pieces:
            self.assertEqual(await anext(pieces), b"one")
            self.assertEqual(len(self.vendor.open), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        await self.vendor_sees_the_end()

    @shows("F17")
    async def test_cancel(self) -> None:
        """Cancelling who reads drops the connection: before the headers, before the body, within it."""
        for script in ([HANG], [head()], [head(), chunk(b"one")]):
            self.script(script)
            self.vendor.requests.clear()

            async def read() -> None:
                async with aclosing(self.http.stream(self.ask())) as pieces:
                    async for _ in pieces:
                        pass

            work = Deferred.fromCoroutine(read())
            await self.until(lambda: self.vendor.requests)
            await self.turns(3)
            work.cancel()
            await self.assertFailure(work, CancelledError)
            self.assertEqual(self.clock.getDelayedCalls(), [])
            await self.vendor_sees_the_end()
            self.assertEqual(len(self.vendor.requests), 1, "a cancelled request was tried again")

    @shows("F17")
    async def test_cancel_at_once(self) -> None:
        """Cancelled while the name is looked up, it is a cancellation, not a failed look-up to try again."""
        self.script(OK)
        work = Deferred.fromCoroutine(self.http.request(self.ask()))
        work.cancel()
        await self.assertFailure(work, CancelledError)
        await self.turns(5)
        self.assertEqual((self.vendor.requests, self.vendor.connections), ([], 0))

    @shows("F12")
    async def test_slow_reader(self) -> None:
        """A reader that does not read stops the sender: little more than the high-water mark is held."""
        self.script([head(), chunk(b"x" * 4_000_000), END])
        stream = await self.http.open(self.ask())
        with closing(stream):
            await self.until(lambda: stream._paused)
            await self.turns(20)
            self.assertLess(stream._unread, HIGH_WATER_BYTES + 2 * 65_536)
            self.clock.advance(60)  # nobody waits for the vendor, so it is not late
            size = 0
            while data := await stream.read():
                size += len(data)
            self.assertEqual(size, 4_000_000)

    async def test_release(self) -> None:
        """What is left after the last interesting byte passes, and the connection is used again."""
        self.script([head(), chunk(b"[DONE]")], OK)
        stream = await self.http.open(self.ask())
        await stream.read()
        stream.release()
        stream.close()
        (connection,) = self.vendor.open
        connection.transport.write(chunk(b"usage") + END)
        await self.until(lambda: not self.clock.getDelayedCalls())
        await self.http.request(self.ask())
        self.assertEqual(self.vendor.connections, 1)

    async def test_release_gives_up(self) -> None:
        """A released answer that does not end within a second, or goes on and on, is dropped."""
        for more in (b"", b"x" * 100_000):
            self.script([head(), chunk(b"[DONE]")])
            stream = await self.http.open(self.ask())
            await stream.read()
            stream.release()
            (connection,) = self.vendor.open
            if more:
                connection.transport.write(chunk(more))
            else:
                self.clock.advance(1.1)
            await self.vendor_sees_the_end()


class WatchdogTests(SynchronousTestCase):
    def test_earlier_deadline(self) -> None:
        """A new, nearer deadline counts although the timer stood later."""
        clock, fired = Clock(), []
        watchdog = Watchdog(clock, 30.0, fired.append)
        watchdog.expect(5.0, "answer")
        clock.advance(1)
        watchdog.expect(3.0, "piece")
        clock.advance(2.9)
        self.assertEqual(fired, [])
        clock.advance(0.2)
        self.assertEqual(fired, ["piece"])

    def test_one_timer(self) -> None:
        """A thousand pieces in time move no timer."""
        clock, fired = Clock(), []
        watchdog = Watchdog(clock, 1e9, fired.append)
        for _ in range(1000):
            watchdog.expect(3.0, "piece")
            clock.advance(0.01)
            watchdog.relax()
            self.assertLessEqual(len(clock.getDelayedCalls()), 1)
        watchdog.stop()
        self.assertEqual((clock.getDelayedCalls(), fired), ([], []))


@shows("F2", "F3")
class RetryRuleTests(SynchronousTestCase):
    def failed(self, status: int = 500, answered: bool = True, asked: float = 0.0) -> Failure:
        kind = kind_of_status(status) if answered else ErrorKind.TRANSPORT
        return Failure(ProviderError("acme", kind, "", status=status, retry_after_secs=asked), answered)

    def test_backoff(self) -> None:
        """Half a second, then one; up to a quarter less by the dice."""
        self.assertEqual(delay_before_retry(ON_A_CALL, self.failed(), 1, 0.0, 0.0), 0.5)
        self.assertEqual(delay_before_retry(ON_A_CALL, self.failed(), 1, 0.0, 1.0), 0.375)
        self.assertEqual(delay_before_retry(ON_A_CALL, self.failed(), 2, 0.5, 0.0), 1.0)
        self.assertIsNone(delay_before_retry(ON_A_CALL, self.failed(), 3, 0.0, 0.0))

    def test_budget(self) -> None:
        """No try begins after 1.5 s, or 2 s when the vendor named the delay."""
        self.assertIsNone(delay_before_retry(ON_A_CALL, self.failed(), 1, 1.01, 0.0))
        self.assertEqual(delay_before_retry(ON_A_CALL, self.failed(429, asked=2.0), 1, 0.0, 0.0), 2.0)
        self.assertIsNone(delay_before_retry(ON_A_CALL, self.failed(429, asked=2.0), 1, 0.1, 0.0))

    def test_x_should_retry(self) -> None:
        """The vendor's own word on retrying wins both ways."""
        for said, status in ((True, 400), (False, 500)):
            failure = replace(self.failed(status), should_retry=said)
            self.assertEqual(delay_before_retry(ON_A_CALL, failure, 1, 0.0, 0.0) is not None, said)
        self.assertEqual(
            [should_retry({"x-should-retry": v}) for v in ("true", "False", "x")], [True, False, None]
        )
        self.assertIsNone(should_retry({}))

    def test_unanswered(self) -> None:
        """At once, and only once."""
        self.assertEqual(delay_before_retry(ON_A_CALL, self.failed(answered=False), 1, 0.0, 0.0), 0.0)
        self.assertIsNone(delay_before_retry(ON_A_CALL, self.failed(answered=False), 2, 0.0, 0.0))
        self.assertIsNone(delay_before_retry(NEVER, self.failed(answered=False), 1, 0.0, 0.0))

    def test_retry_after(self) -> None:
        """Milliseconds win over seconds; a date is taken from now; nonsense and long waits are nothing."""
        soon = (NOW + timedelta(seconds=2)).strftime("%a, %d %b %Y %H:%M:%S GMT")
        for headers, secs in (
            ({"retry-after": "2", "retry-after-ms": "1850"}, 1.85),
            ({"retry-after": "1.5"}, 1.5),
            ({"retry-after": soon}, 2.0),
            ({"retry-after": "61"}, 0.0),
            ({"retry-after": "-1"}, 0.0),
            ({"retry-after": "nan"}, 0.0),
            ({"retry-after": "soon"}, 0.0),
            ({"retry-after": "Mon, 99 Foo 2026"}, 0.0),
            ({}, 0.0),
        ):
            self.assertEqual(retry_after(headers, NOW), secs, headers)
