"""The simulator over real sockets on loopback: webhook, media stream, stand-in REST API, command line."""

from __future__ import annotations

import base64
import json
import os
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qs

from autobahn.twisted.resource import WebSocketResource
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessTerminated
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import Agent, readBody
from twisted.web.http_headers import Headers
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.test.requesthelper import DummyRequest

from tests.test_simulator_caller import tone
from voxray.simulator import checks
from voxray.simulator.caller import SimulatedCall
from voxray.simulator.client import place_call
from voxray.simulator.daemon import Daemon, environment, twilio_account
from voxray.simulator.rest import APIS, Line, Switchboard, listen
from voxray.simulator.result import CallResult
from voxray.simulator.script import Do, Patience, Script, Step
from voxray.simulator.signing import Outgoing, signature
from voxray.simulator.target import DEFAULT_ACCOUNT_SID, DialFailed, Target, media_address, new_ids
from voxray.simulator.twiml import BadAnswer
from voxray.simulator.webhook import WebhookFailed, _Form, ask_webhook

TOKEN = "0123456789abcdef"


class EchoAgent(WebSocketServerProtocol):
    """Greets with a tone, then says back what it hears above a level, as Twilio would be told to play it."""

    def onOpen(self) -> None:
        self.factory.opened.append(self)
        self.got: list[dict[str, Any]] = []

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        message = json.loads(payload)
        self.got.append(message)
        if message["event"] == "start":
            self.stream_sid = message["streamSid"]
            self.tell("media", media={"payload": base64.b64encode(tone(0.3)).decode()})
            self.tell("mark", mark={"name": "greeting"})
        if message["event"] == "mark" and self.factory.on_mark is not None:
            self.factory.on_mark(message)

    def tell(self, event: str, **more: Any) -> None:
        text = json.dumps({"event": event, "streamSid": self.stream_sid} | more)
        self.sendMessage(text.encode())


class Hook(Resource):
    """The webhook: remembers the form, answers the TwiML it was given."""

    isLeaf = True

    def __init__(self, answer: str, status: int = 200) -> None:
        super().__init__()
        self.answer, self.status = answer, status
        self.forms: list[dict[str, str]] = []
        self.headers: list[str] = []

    def render_POST(self, request: Any) -> bytes:
        self.forms.append(
            {name: values[0] for name, values in parse_qs(request.content.read().decode()).items()}
        )
        self.headers.append(request.getHeader("x-twilio-signature") or "")
        request.setResponseCode(self.status)
        request.setHeader(b"Content-Type", b"application/xml")
        return self.answer.encode()


PUBLIC = "wss://agent.example.com/telephony/ws"
ANSWER = (
    f'<Response><Connect><Stream url="{PUBLIC}"><Parameter name="token" value="s&amp;p"/></Stream>'
    "</Connect></Response>"
)


class DialTests(TestCase):
    """Everything here listens on 127.0.0.1 only."""

    def setUp(self) -> None:
        self.hook = Hook(ANSWER)
        self.factory = WebSocketServerFactory(reactor=reactor)
        self.factory.protocol = EchoAgent
        self.factory.opened, self.factory.on_mark = [], None
        root = Resource()
        root.putChild(b"", self.hook)
        telephony = Resource()
        root.putChild(b"telephony", telephony)
        telephony.putChild(b"ws", WebSocketResource(self.factory))
        self.port = reactor.listenTCP(0, Site(root, reactor=reactor), interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port.getHost().port}/"

    async def call(self, script: Script, switchboard: Switchboard | None = None, **more: Any) -> CallResult:
        target = Target(self.url, auth_token=TOKEN, **more)
        call = SimulatedCall(
            reactor,
            new_ids(target.account_sid),
            script,
            patience=Patience(settle=0.2, reply=1.0),
            max_secs=5.0,
        )
        self.addCleanup(call.hang_up)
        return await place_call(reactor, target, call, switchboard)

    async def test_a_whole_call(self) -> None:
        """Signed webhook; the socket at the webhook's own address; parameters; greeting, mark, stop, 1000."""
        script = Script((Step(Do.HANG_UP),))
        result = await self.call(script)
        self.assertEqual(checks.failures(result, script, checks.Expectations()), [])
        self.assertEqual((result.ended_by, result.close_code), ("caller", 1000))
        form = self.hook.forms[0]
        self.assertEqual(form["CallSid"], result.ids.call_sid)
        self.assertEqual(form["CallStatus"], "ringing")
        self.assertEqual(self.hook.headers, [signature(TOKEN, self.url, form)])
        (agent,) = self.factory.opened
        kinds = [message["event"] for message in agent.got]
        self.assertEqual(kinds[:2], ["connected", "start"])
        self.assertEqual(kinds[-1], "stop")
        self.assertIn("mark", kinds)
        self.assertEqual(agent.got[1]["start"]["customParameters"], {"token": "s&p"})
        self.assertEqual(agent.http_headers["x-twilio-signature"], signature(TOKEN, PUBLIC, {}))
        self.assertEqual(agent.http_headers["host"].split(":")[0], "agent.example.com")
        self.assertNotIn("sec-websocket-extensions", agent.http_headers)
        greeting = result.turns[0].latency_ms
        assert greeting is not None
        self.assertLess(greeting, 300)

    async def test_the_agent_hangs_up_by_rest(self) -> None:
        """The stand-in REST API ends the call: 200, `stop`, close; asked again it is 404 with 20404."""
        switchboard = Switchboard(DEFAULT_ACCOUNT_SID, TOKEN)
        rest = await listen(reactor, switchboard, 0)
        self.addCleanup(rest.stopListening)
        self.factory.on_mark = lambda message: self.hang_up(rest.getHost().port)
        self.answers: list[tuple[int, Any]] = []
        script = Script(expect_hang_up=True)
        result = await self.call(script, switchboard)
        self.assertEqual(result.ended_by, "agent")
        self.assertEqual(checks.failures(result, script, checks.Expectations()), [])
        self.assertEqual(self.factory.opened[0].got[-1]["event"], "stop")
        await self.hanging_up
        self.assertEqual(self.answers[0][0], 200)
        self.assertEqual(self.answers[0][1]["status"], "completed")
        again = await self._hang_up(rest.getHost().port)
        self.assertEqual(again, (404, 20404))
        self.assertEqual([status for _, status in switchboard.requests], [200, 404])

    def hang_up(self, port: int) -> None:
        self.hanging_up = Deferred.fromCoroutine(self._hang_up(port))

    async def _hang_up(self, port: int) -> tuple[int, int]:
        call_sid = self.hook.forms[0]["CallSid"]
        url = f"http://127.0.0.1:{port}/2010-04-01/Accounts/{DEFAULT_ACCOUNT_SID}/Calls/{call_sid}.json"
        secret = base64.b64encode(f"{DEFAULT_ACCOUNT_SID}:{TOKEN}".encode()).decode()
        headers = Headers(
            {"Authorization": [f"Basic {secret}"], "Content-Type": ["application/x-www-form-urlencoded"]}
        )
        response = await Agent(reactor).request(b"POST", url.encode(), headers, _Form(b"Status=completed"))
        body = json.loads(await readBody(response))
        self.answers.append((response.code, body))
        return response.code, body.get("code", 0)

    async def test_a_refused_socket(self) -> None:
        """An upgrade answered with 404 is a call that failed, with the reason; nothing is left open."""
        self.hook.answer = ANSWER.replace("/telephony/ws", "/nowhere")
        result = await self.call(Script())
        self.assertEqual(result.ended_by, "refused")
        self.assertIn("404", " ".join(result.problems))

    async def test_webhooks_that_fail(self) -> None:
        """A status, an endless answer, nobody there: one line each."""
        self.hook.status = 503
        self.hook.answer = "no capacity"
        refused = await self.failure_of(WebhookFailed)
        self.assertIn("answered 503: no capacity", str(refused))
        self.hook.status = 200
        self.hook.answer = " " * 300_000
        self.assertIn("at most 65536", str(await self.failure_of(BadAnswer)))

    async def test_a_webhook_that_never_answers(self) -> None:
        """The wait for an answer is bounded, with a reason that says so."""
        mute = reactor.listenTCP(0, Factory.forProtocol(Protocol), interface="127.0.0.1")
        self.addCleanup(mute.stopListening)
        url = f"http://127.0.0.1:{mute.getHost().port}/"
        asking = ask_webhook(reactor, Outgoing("POST", url), {}, timeout_secs=0.05)
        error = await self.assertFailure(Deferred.fromCoroutine(asking), WebhookFailed)
        self.assertIn("no answer within 0.05 s", str(error))

    async def failure_of(self, kind: type[Exception]) -> Exception:
        try:
            await self.call(Script())
        except kind as error:
            return error
        raise self.failureException(f"no {kind.__name__}")


class AddressTests(SynchronousTestCase):
    """Where the media socket goes."""

    def test_the_rules(self) -> None:
        """The webhook's own address on loopback, `via` before all, the answer's otherwise."""
        public = "wss://voice.example.com/telephony/ws"
        cases = [
            (Target("http://127.0.0.1:8080/"), public, ("127.0.0.1", 8080, False)),
            (Target("http://localhost/"), public, ("localhost", 80, False)),
            (Target("http://127.0.0.1:8080/", via="[::1]:9"), public, ("::1", 9, False)),
            (
                Target("https://voice.example.com/", allow_remote=True),
                public,
                ("voice.example.com", 443, True),
            ),
            (Target("https://voice.example.com/", via="127.0.0.1:1"), public, ("127.0.0.1", 1, False)),
        ]
        for target, url, wanted in cases:
            found = media_address(target, url)
            self.assertEqual((found.host, found.port, found.tls), wanted)

    def test_other_machines_need_leave(self) -> None:
        """Without --allow-remote neither the webhook nor an answer can make a call leave this machine."""
        for target in (Target("https://voice.example.com/"), Target("http://127.0.0.1/", via="10.0.0.1:80")):
            self.assertRaises(DialFailed, media_address, target, "wss://voice.example.com/ws")


class RestTests(SynchronousTestCase):
    def test_what_is_refused(self) -> None:
        """Wrong password 401; another account or call 404; a change that is none 400; nobody is hung up."""
        ended: list[str] = []
        switchboard = Switchboard("AC" + "a" * 32, "secret")
        call_sid = "CA" + "b" * 32
        switchboard.add(call_sid, Line(lambda: ended.append(call_sid)))
        path = f"/2010-04-01/Accounts/AC{'a' * 32}/Calls/{call_sid}.json".encode()
        cases = [
            ("AC" + "a" * 32, "wrong", path, b"Status=completed", 401),
            ("AC" + "b" * 32, "secret", path, b"Status=completed", 401),
            ("AC" + "a" * 32, "secret", path.replace(b"ACaa", b"ACbb"), b"Status=completed", 404),
            ("AC" + "a" * 32, "secret", path.replace(b"CAbb", b"CAcc"), b"Status=completed", 404),
            ("AC" + "a" * 32, "secret", path + b"/x", b"Status=completed", 404),
            ("AC" + "a" * 32, "secret", path, b"Status=ringing", 400),
        ]
        for user, password, where, body, status in cases:
            self.assertEqual(self.answer(switchboard, user, password, where, body), status)
        self.assertEqual(ended, [])
        good = ("AC" + "a" * 32, "secret", path)
        self.assertEqual(self.answer(switchboard, *good, b"Status=completed"), 200)
        self.assertEqual(ended, [call_sid])

    def answer(self, switchboard: Switchboard, user: str, password: str, path: bytes, body: bytes) -> int:
        request = DummyRequest([])
        request.method, request.path, request.content = b"POST", path, BytesIO(body)
        request.getUser, request.getPassword = user.encode, password.encode
        APIS["twilio"](switchboard).render(request)
        return request.responseCode


class FakeProcesses:
    """Records what is started and signalled."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.seconds, self.callLater = self.clock.seconds, self.clock.callLater
        self.signals: list[str] = []

    def spawnProcess(self, protocol: Any, executable: str, args: list[str], env: Any, path: str) -> Any:
        self.protocol, self.args, self.env = protocol, args, env
        return self

    def signalProcess(self, name: str) -> None:
        self.signals.append(name)


class DaemonTests(SynchronousTestCase):
    """The demo's child process, without a process."""

    def setUp(self) -> None:
        self.processes, self.events = FakeProcesses(), []
        self.daemon = Daemon(self.processes, self.events.append)
        with patch.dict(os.environ, {"VOXRAY_STT_PROVIDER": "openai", "HOME": "/home/x"}):
            settings = environment(8080) | twilio_account("AC1", "token", 8081)
        self.daemon.start(Path("voxray.json"), settings, Path())

    def write(self, data: bytes, fd: int = 1) -> None:
        self.processes.protocol.childDataReceived(fd, data)

    def end(self, status: int | None, signal: int | None = None) -> None:
        self.processes.protocol.processEnded(Failure(ProcessTerminated(status, signal)))

    def test_started_as_a_user_would(self) -> None:
        """`twistd -n voxray --config`, on loopback, with the stand-in carrier and nobody's settings."""
        self.assertEqual(self.processes.args[1:5], ["-n", "--pidfile=", "voxray", "--config"])
        env = self.processes.env
        self.assertNotIn("VOXRAY_STT_PROVIDER", env)
        self.assertEqual((env["VOXRAY_HOST"], env["TWILIO_BASE_URL"]), ("127.0.0.1", "http://127.0.0.1:8081"))
        self.assertEqual(env["HOME"], "/home/x")

    def test_events_in_pieces(self) -> None:
        """Lines are cut at newlines, whatever the pieces; only events are handed on."""
        self.write(b'plain text\n{"level":"info","msg":"x"}\n{"event":"tu')
        self.write(b"also plain\n", fd=2)
        self.assertEqual(self.events, [])
        self.write(b'rn","heard":"a"}\n{"broken\n')
        self.assertEqual(self.events, [{"event": "turn", "heard": "a"}])

    def test_a_death_is_told_with_the_last_lines(self) -> None:
        """A daemon that ends on its own fires `died`, with what it wrote last."""
        self.write(b"Traceback\nValueError: broken\n", fd=2)
        self.end(1)
        failure = self.successResultOf(self.daemon.died)
        self.assertIn("exit status 1", str(failure))
        self.assertIn("ValueError: broken", str(failure))

    def test_stopped_and_killed(self) -> None:
        """SIGTERM first; SIGKILL only for one that does not end; that is no death to report."""
        stopping = Deferred.fromCoroutine(self.daemon.stop())
        self.assertEqual(self.processes.signals, ["TERM"])
        self.processes.clock.advance(11)
        self.assertEqual(self.processes.signals, ["TERM", "KILL"])
        self.assertNoResult(stopping)
        self.end(None, 9)
        self.assertEqual(self.successResultOf(stopping), "SIGKILL")
        self.assertNoResult(self.daemon.died)
        self.assertEqual(self.processes.clock.getDelayedCalls(), [])
