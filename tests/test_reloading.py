"""SIGHUP on the whole daemon, on imaginary time: what new calls get, what others keep, what is kept out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import write_pair
from tests.configs import loaded, settings
from tests.dangers import shows
from tests.house import House, Line
from tests.signers import SIGNERS
from tests.test_attack_trust import PATH, Trusted
from tests.test_dials import Control
from tests.test_draining import CALLS, KEY, ORDER, DrainingTestCase
from tests.test_media_socket import start
from tests.test_settings_effect_proxies import HEADERS, LINE, PROXY, access_log
from tests.test_settings_effect_server import TlsClient
from tests.test_web_http import FORM
from voxray.config import Loaded
from voxray.config.keys import KEYS
from voxray.errors import ErrorKind, ProviderError
from voxray.frames import TextDelta
from voxray.interfaces import Dialed
from voxray.logs import _chosen, make_observer
from voxray.reloading import Reloader, changed, with_lasting

TWILIO = SIGNERS["twilio"]
STOP: dict[str, Any] = {"event": "stop"}
RELOADS = "voxray_config_reload_total"


class ReloadTestCase(DrainingTestCase):
    def outcomes(self) -> tuple[float | None, float | None]:
        """(loaded, kept)."""
        return self.metric(RELOADS, outcome="loaded"), self.metric(RELOADS, outcome="kept")

    def said_of_it(self) -> list[str]:
        """What was logged since SIGHUP."""
        texts = [str(e["log_format"]).format(**e) for e in self.house.logged if "log_format" in e]
        begun = max(i for i, text in enumerate(texts) if text.startswith("SIGHUP: configuration and"))
        return texts[begun + 1 :]


@shows("F52")
class NewCallsTests(ReloadTestCase):
    """What holds from now on, and for whom."""

    def test_agent(self) -> None:
        """A new call gets the new greeting; one that is up ends with the goodbye of its own."""
        house = self.open(greeting="Old hello.", goodbye="Old bye.")
        old = house.dial()
        house.pass_time(1)
        house.reload(greeting="New hello.", goodbye="New bye.")
        new = house.dial()
        house.pass_time(1)
        for call in house.daemon._parts.registry:
            call.say_goodbye("operator")
        house.pass_time(1)
        self.assertEqual(old.said, ["Old hello.", "Old bye."])
        self.assertEqual(new.said, ["New hello.", "New bye."])
        self.assertEqual(self.outcomes(), (1.0, 0.0))

    def test_nothing_is_lost(self) -> None:
        """In the middle of an answer: not a packet is missing, doubled or late."""
        words = "one two three four five six seven eight nine ten"
        heard = []
        for reload in (False, True):
            house = self.open([TextDelta(words)])
            line = house.dial()
            line.press("1#")
            for number in range(20):
                house.pass_time(0.1)
                if reload:
                    house.reload(greeting=f"Hello {number}.", max_calls=5 if number % 2 else "many")
            heard.append(([m["event"] for m in line.messages()], line.audio))
        self.assertEqual(heard[0], heard[1])
        self.assertEqual(self.outcomes(), (10.0, 10.0))

    def test_web(self) -> None:
        """What requests are judged by: public host, room, keys, sizes, metrics."""
        self.open()
        self.house.reload(proxy_host="new.example", max_calls=1, server_api_key=["k2"])
        self.assertIn(b"wss://new.example/", self.ask("POST", "/", FORM).body)
        self.assertEqual(self.ask("GET", CALLS, b"", KEY).status, 401)
        self.assertEqual(self.ask("GET", CALLS, b"", "X-API-Key: k2").status, 200)
        self.house.dial()
        another = FORM.replace(b"CA0123456789", b"CA9876543210")
        self.assertIn(b"<Reject", self.ask("POST", "/", another).body)
        self.house.reload(max_calls=2, max_request_body_bytes=10, metrics_enabled=False)
        self.assertEqual(self.ask("POST", "/", FORM).status, 413)
        self.assertEqual(self.ask("GET", "/metrics").status, 204)
        self.assertIn(self.house.dial().code, (None,))

    def test_transfers(self) -> None:
        """Documents of transfers are at the new host."""
        house = self.open(proxy_host="old.example")
        house.reload(proxy_host="new.example")
        url = house.daemon._parts.exchange.transfer_url("call", "+1555")
        self.assertTrue(url.startswith("https://new.example/"), url)

    def test_proxies(self) -> None:
        """Who is believed, and, with PROXY headers, who may connect."""
        for keys in ({}, {"proxy_protocol": True}):
            house = self.open(trusted_proxies=["10.0.0.1"], **keys)
            lines = access_log(house)
            house.peer = PROXY
            house.reload(trusted_proxies=["10.0.0.0/24"])
            line = Line(house)
            header = LINE if keys else b""
            forwarded = b"" if keys else HEADERS
            line.raw(header + b"GET /health HTTP/1.1\r\nHost: a\r\n" + forwarded + b"\r\n")
            self.assertEqual([line.split()[0] for line in lines], ["203.0.113.7"], keys)

    def test_no_proxies(self) -> None:
        """Those there were stay while their header must be there: else nobody could connect."""
        house = self.open(trusted_proxies=["10.0.0.5"], proxy_protocol=True)
        house.peer = PROXY
        house.reload(trusted_proxies=[], proxy_protocol=False)
        line = Line(house)
        line.raw(LINE + b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertIn(b" 200 ", line.transport.value()[:15])

    def test_sockets(self) -> None:
        """New sockets are held to the new limits, those that are open to the old."""
        house = self.open()
        old = house.dial()
        house.reload(max_message_bytes=1_024)
        new = house.dial()
        for line in (old, new):
            line.send({"event": "media", "media": {"payload": "/" * 2_000}})
        self.assertEqual((old.code, new.code), (None, 1009))

    def test_trust(self) -> None:
        """A secret set by it shuts the door that was open."""
        self.house = house = Trusted(self, TWILIO, api_keys={})
        self.assertEqual(house.streams(PATH, TWILIO.call_sid(1), headers={}), "")
        house.reload(api_keys=dict(TWILIO.keys))
        self.assertEqual(house.streams(PATH, TWILIO.call_sid(2), headers={}), "HTTP 403")
        self.assertEqual(self.metric("voxray_insecure_config", what="webhook_auth"), 0.0)
        self.assertEqual(len(house.daemon._parts.registry), 1)

    def test_carrier(self) -> None:
        """None, and another: the calls there are go on, new ones come from whom it says."""
        house = self.open()
        line = house.dial()
        house.reload(runner_transport="")
        self.assertEqual(self.ask("POST", "/", FORM).status, 405)
        self.assertEqual(self.ask("GET", CALLS, b"", KEY).status, 404)
        house.reload(runner_transport="plivo")
        self.assertIn(b"plivo", self.ask("GET", "/").body)
        line.press("1#")
        house.pass_time(1)
        self.assertEqual((line.code, len(house.llm.asked)), (None, 1))

    def test_drain_timeout(self) -> None:
        house = self.open(drain_timeout_secs=300)
        line = house.dial()
        house.reload(drain_timeout_secs=0)
        house.terminate()
        house.pass_time(1)
        self.assertEqual(line.code, 1001)

    def test_records(self) -> None:
        """Of calls that end from now on, in the file that is named now."""
        first, second = (Path(self.mktemp()).absolute() for _ in range(2))
        house = self.open(cdr_file=str(first))
        line = house.dial()
        house.reload(cdr_file=str(second))
        self.assertEqual(second.read_bytes(), b"")  # that it can be written is found out at once
        line.send(STOP)
        self.assertEqual((first.read_bytes(), second.read_bytes().count(b"\n")), (b"", 1))

    def test_log(self) -> None:
        """Level and form, of the lines from now on."""
        self.open(log_level="info")
        self.house.reload(log_level="error", json_logs=True)
        written: list[str] = []

        class Stream:
            def fileno(self) -> int:
                return -1

            def flush(self) -> None: ...

            def write(self, text: str) -> None:
                written.append(text)

        from twisted.logger import Logger

        from voxray import logs

        log = Logger(observer=make_observer(Stream(), lambda: logs._chosen))  # type: ignore[arg-type]
        log.warn("not this")
        log.error("this")
        self.assertEqual([json.loads(line)["msg"] for line in written], ["this"])
        self.assertIsNot(logs._chosen, _chosen)

    def test_tls(self) -> None:
        """Other files: the next connection gets their certificate."""
        directories = [Path(self.mktemp()).absolute() for _ in range(2)]
        files = []
        for directory in directories:
            directory.mkdir()
            certificate, key = write_pair(directory)
            files.append({"tls_cert_file": certificate, "tls_key_file": key})
        house = self.open(tls_enable=True, **files[0])
        for number, pair in enumerate(files):
            if number:
                house.reload(**pair)
            client = TlsClient(house, pair["tls_cert_file"])
            client.handshake()


@shows("F52")
class MemoryTests(ReloadTestCase):
    """What a reload does not forget."""

    def test_tokens(self) -> None:
        """Of before it are good after it, also when the key has changed; for their time, and once."""
        self.house = house = Trusted(self, TWILIO, stream_secret="old", stream_token_secs=60)
        before = [house.answered(TWILIO.call_sid(number)) for number in range(3)]
        house.reload(stream_secret="new")
        for number in (0, 1):
            path, parameters = before[number]
            self.assertEqual(house.streams(path, TWILIO.call_sid(number), parameters), "")
        path, parameters = before[0]
        self.assertEqual(house.streams(path, TWILIO.call_sid(0), parameters), "HTTP 403")
        path, parameters = house.answered(TWILIO.call_sid(7))
        self.assertEqual(house.streams(path, TWILIO.call_sid(7), parameters), "")
        house.pass_wall_time(61)
        path, parameters = before[2]
        self.assertEqual(house.streams(path, TWILIO.call_sid(2), parameters), "HTTP 403")

    def test_a_random_key(self) -> None:
        """One that nobody configured stays what it is."""
        self.house = house = Trusted(self, TWILIO)
        path, parameters = house.answered(TWILIO.call_sid(1))
        house.reload(greeting="New.")
        self.assertEqual(house.streams(path, TWILIO.call_sid(1), parameters), "")
        tokens = house.daemon._parts.drain._household._office.tokens
        key = tokens._key
        self.assertEqual(tokens._former, {})
        house.reload(stream_secret="new")
        house.reload(stream_secret="")
        self.assertEqual(list(tokens._former), [key, b"new"])
        self.assertNotIn(tokens._key, (key, b"new"))

    def test_announced(self) -> None:
        """A call whose webhook the old configuration has answered: it is the same call, with its numbers."""
        house = self.open()
        form = FORM.replace(b"CA0123456789abcdef0123456789abcdef", start(1)["start"]["callSid"].encode())
        self.ask("POST", "/", form)
        house.reload(greeting="New.")
        line = house.socket()
        line.send(start(1))
        line.send(STOP)
        [record] = house.records
        self.assertEqual(record["from"], "***5310")

    def test_announced_for_less_long(self) -> None:
        """How long a call may be announced is a matter of the new configuration."""
        house = self.open()
        form = FORM.replace(b"CA0123456789abcdef0123456789abcdef", start(1)["start"]["callSid"].encode())
        self.ask("POST", "/", form)
        house.reload(stream_token_secs=5)
        house.pass_time(6)
        line = house.socket()
        line.send(start(1))
        line.send(STOP)
        self.assertEqual(house.records[0]["from"], "")

    def test_socket_before_its_start(self) -> None:
        """A socket that the old configuration has let in becomes a call by the new one."""
        house = self.open(greeting="Old.")
        line = house.socket()
        house.reload(greeting="New.")
        line.send(start(1))
        house.pass_time(1)
        self.assertEqual(line.said, ["New."])

    def test_dialed(self) -> None:
        """A call that rings is still known; giving it up, and an order repeated, work."""
        house = self.open(proxy_host="voice.example.com", caller_id="+1555")
        control = Control()
        house.daemon._parts.exchange.controls["twilio"] = control
        line = Line(house)
        head = f"POST {CALLS} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(ORDER)}\r\n{KEY}\r\n"
        line.raw((head + "Idempotency-Key: one\r\n\r\n").encode() + ORDER)
        control.orders[0][1].callback(Dialed("ref", "CA7"))
        house.reload(greeting="New.")
        house.daemon._parts.exchange.controls["twilio"] = control
        again = self.ask("POST", CALLS, ORDER, KEY, "Idempotency-Key: one")
        self.assertEqual((again.status, len(control.orders)), (201, 1))
        dial_id = again.json["data"]["id"]
        self.assertEqual(self.ask("DELETE", f"{CALLS}/{dial_id}", b"", KEY).status, 200)
        self.assertEqual(control.cancelled, ["ref"])

    def test_metrics(self) -> None:
        """Counters go on counting, whatever was built anew."""
        house = self.open()
        house.dial().send(STOP)
        house.reload(greeting="New.")
        house.dial().send(STOP)
        self.assertEqual(self.metric("voxray_calls_started_total"), 2.0)
        stamp = self.metric("voxray_config_last_reload_success_timestamp_seconds")
        house.reactor.advance(50)
        house.reload(max_calls=0)
        self.assertEqual(self.metric("voxray_config_last_reload_success_timestamp_seconds"), stamp)
        house.reload(max_calls=9)
        assert stamp is not None
        after = self.metric("voxray_config_last_reload_success_timestamp_seconds")
        assert after is not None
        self.assertGreater(after, stamp + 49)


class EngineTests(ReloadTestCase):
    """Providers and models."""

    def providers(self) -> Any:
        return self.house.daemon._parts.exchange.providers

    def open(self, *replies: list[object], control: Any = None, **document: object) -> House:
        """With the real providers; what the voice has to say takes time, so there is nothing at first."""
        phrases = ("apology", "hold_phrase", "failure_goodbye", "idle_prompt", "transfer_apology")
        mute = {**dict.fromkeys(phrases, ""), **document}
        self.house = House(self, mute, *replies, real=("stt", "llm", "tts"), OPENAI_API_KEY="one")
        return self.house

    def test_kept(self) -> None:
        """Recogniser, voice and its phrases stay where nothing of theirs has changed; the mind is new."""
        house = self.open()
        house.reload(greeting="Hello.")
        house.pass_time(2)
        before, phrases = self.providers(), house.daemon._parts.exchange.phrases._made["Hello."]
        house.reload(goodbye="Bye bye.")
        house.pass_time(2)
        after = self.providers()
        self.assertIs(after.stt, before.stt)
        self.assertIs(after.tts, before.tts)
        self.assertIsNot(after.llm, before.llm)
        self.assertIs(house.daemon._parts.exchange.phrases._made["Hello."], phrases)
        self.assertIn("Bye bye.", house.daemon._parts.exchange.phrases._made)
        self.assertEqual(self.outcomes(), (2.0, 0.0))

    def test_a_voice_takes_time(self) -> None:
        """Until the new phrases are made, calls get the old configuration; signals meanwhile do no harm."""
        house = self.open()
        house.reload(greeting="Hello there, this takes a moment.")
        house.reload(greeting="Hello again.")
        self.assertEqual(house.daemon._parts.exchange.settings.agent.greeting, "")
        house.pass_time(5)
        self.assertEqual(house.daemon._parts.exchange.settings.agent.greeting, "Hello again.")

    def test_changed(self) -> None:
        """Another model, another key, another vendor: another provider; a key is nobody else's matter."""
        house = self.open(provider="scripted", stt_provider="openai")
        before = self.providers()
        house.reload(stt_model="whisper-1")
        changed_model = self.providers()
        self.assertIsNot(changed_model.stt, before.stt)
        self.assertEqual(changed_model.stt.model, "whisper-1")
        house._environ = {"OPENAI_API_KEY": "two"}
        house.reload()
        self.assertIsNot(self.providers().stt, changed_model.stt)
        house.reload(stt_provider="scripted")
        self.assertEqual(self.providers().stt.name, "scripted")

    def test_ears(self) -> None:
        """The detector of all calls stays unless it is to be another."""
        house = self.open()
        before = house.daemon._parts.exchange.activity
        house.reload(greeting="")
        self.assertIs(house.daemon._parts.exchange.activity, before)
        house.reload(vad_threshold=0.1)
        self.assertIsNot(house.daemon._parts.exchange.activity, before)

    def test_stopped(self) -> None:
        """What only old calls use is stopped after the last of them; they are heard by it until then."""
        stopped: list[str] = []
        house = self.open(vad_type="energy")
        for name in ("stt", "tts"):
            provider = getattr(self.providers(), name)

            async def stop(name: str = name) -> None:
                stopped.append(name)

            self.patch(provider, "stop", stop)
        first, second = house.dial(), house.dial()
        house.reload(stt_provider="openai", vad_threshold=0.1)
        third = house.dial()
        first.send(STOP)
        third.send(STOP)
        self.assertEqual(stopped, [])
        second.send(STOP)
        self.assertEqual(stopped, ["stt"])

    def test_cannot_start(self) -> None:
        """A voice that is not there: kept out with one line, and everything is as before."""
        house = self.open()
        before = house.daemon._parts.editions.current
        house.reload(tts_provider="local", tts_voice="bob")
        self.assertIs(house.daemon._parts.editions.current, before)
        [line] = self.said_of_it()
        self.assertIn("the configuration stays the old one: local: unavailable: no voice 'bob'", line)
        self.assertEqual(self.outcomes(), (0.0, 1.0))
        self.assertEqual(len(house.daemon._parts.editions), 1)


@shows("F52")
class KeptOutTests(ReloadTestCase):
    """What cannot serve, and what only a restart changes."""

    def test_broken(self) -> None:
        """One clear line, and the old configuration serves: calls, webhooks, the next reload."""
        house = self.open(greeting="Hello.")
        for broken, text in (
            ({"max_calls": -1}, "max_calls must be"),
            ({"max_calls": 5, "telephony_auth": "signature"}, 'telephony_auth: "signature" needs'),
            ({"telephony_auth": "off", "provider": "nobody"}, 'provider: "nobody" is'),
        ):
            house.reload(**broken)
            [line] = self.said_of_it()
            self.assertIn("SIGHUP: the configuration stays the old one: ", line)
            self.assertIn(text, line)
        line_in = house.dial()
        house.pass_time(1)
        self.assertEqual(line_in.said, ["Hello."])
        self.assertEqual(self.outcomes(), (0.0, 3.0))
        house.reload(provider="scripted", greeting="New.")
        self.assertEqual(self.outcomes(), (1.0, 3.0))

    def test_a_fault_of_ours(self) -> None:
        """It is logged, and costs nothing but the reload."""
        house = self.open()
        house.reading = lambda: 1 // 0  # type: ignore[assignment, return-value]
        house.daemon._signals._reload()
        self.assertEqual(self.outcomes(), (0.0, 1.0))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        house.dial()

    def test_restart(self) -> None:
        """Keys for the life of the process: named in one warning, kept; the others take effect."""
        house = self.open(greeting="Old.")
        house.reload(port=9, host="127.0.0.9", greeting="New.")
        [warning] = [text for text in self.said_of_it() if "restart" in text]
        self.assertEqual(warning, "SIGHUP: only a restart changes host, port; until then the old value holds")
        now = house.daemon._parts.exchange.settings
        self.assertEqual((now.server, now.agent.greeting), (house.settings.server, "New."))

    def test_warnings(self) -> None:
        """Those of the new configuration are told as at the start."""
        self.open()
        self.house.reload(greetin="Hello")
        self.assertTrue(any('unknown key "greetin"' in text for text in self.said_of_it()))

    def test_the_daemon_ends_meanwhile(self) -> None:
        """What was being spoken for the new edition is given up at once."""
        house = self.open()
        house.tts.name, house.tts.gate = "scripted", Deferred()
        house.reload(greeting="Hello.")
        self.assertEqual(house.tts.running, 1)
        house.daemon.stopService()
        self.assertEqual(house.tts.running, 0)
        self.assertEqual(self.outcomes(), (0.0, 0.0))

    def test_while_draining(self) -> None:
        """A daemon that is about to stop reads nothing."""
        house = self.open(greeting="Old.")
        house.dial()
        house.terminate()
        house.reload(greeting="New.")
        self.assertEqual(house.daemon._parts.exchange.settings.agent.greeting, "Old.")
        self.assertEqual(self.outcomes(), (0.0, 0.0))


class Shelf:
    """Editions that note what is put there."""

    def __init__(self) -> None:
        self.current: Any = type("Edition", (), {"settings": settings()})()
        self.changes: list[Any] = []
        self.gate: Deferred[None] = succeed(None)

    async def change(self, edition: Any) -> None:
        await self.gate
        self.changes.append(edition)


class Inline:
    """A worker without a thread."""

    async def run(self, work: Any) -> Any:
        return work()


@shows("F52")
class OneAtATimeTests(SynchronousTestCase):
    """Signals that come faster than they are worked off."""

    def setUp(self) -> None:
        self.shelf, self.read, self.told = Shelf(), 0, list[str]()
        self.serving = True
        self.reloader = Reloader(
            self.load,
            lambda new, before: new,  # type: ignore[arg-type, return-value]
            self.shelf,
            Inline(),  # type: ignore[arg-type]
            self,
            self,
            lambda: self.serving,
        )

    def load(self) -> Loaded:
        self.read += 1
        return loaded({"greeting": f"Hello {self.read}."})

    def reloading(self) -> None:
        self.told.append("reloading")

    def ready(self) -> None:
        self.told.append("ready")

    def reloaded(self, outcome: str) -> None:
        self.told.append(outcome)

    def test_many(self) -> None:
        """Ten during one reading are one more reading, and the last word is in force."""
        self.shelf.gate = gate = Deferred()
        for _ in range(10):
            self.reloader.reload()
        self.assertEqual((self.read, self.told), (1, ["reloading"]))
        self.shelf.gate = succeed(None)
        gate.callback(None)
        self.assertEqual(self.read, 2)
        self.assertEqual([edition.agent.greeting for edition in self.shelf.changes], ["Hello 1.", "Hello 2."])
        self.assertEqual(self.told, ["reloading", "loaded", "ready"] * 2)
        self.reloader.reload()
        self.assertEqual(self.read, 3)

    def test_told_well_or_not(self) -> None:
        """The service manager hears of the end of every reload."""
        self.shelf.gate = Deferred()
        self.reloader.reload()
        self.shelf.gate.errback(ProviderError("voice", ErrorKind.UNAVAILABLE, "gone"))
        self.assertEqual(self.told, ["reloading", "kept", "ready"])

    def test_stopped(self) -> None:
        """The daemon ends in the middle: nothing is put there, nothing is told, no error is logged."""
        self.shelf.gate = Deferred()
        self.reloader.reload()
        self.reloader.stop()
        self.assertEqual((self.shelf.changes, self.told), ([], ["reloading"]))

    def test_drained_meanwhile(self) -> None:
        """SIGTERM during it: nobody is told that we are ready."""
        self.shelf.gate = Deferred()
        self.reloader.reload()
        self.serving = False
        self.shelf.gate.callback(None)
        self.assertEqual(self.told, ["reloading", "loaded"])


class LastingTests(SynchronousTestCase):
    """Which keys hold for the life of the process."""

    RESTART = frozenset(key.name for key in KEYS.values() if key.restart)

    @given(
        st.fixed_dictionaries(
            {},
            optional={
                "host": st.sampled_from(["127.0.0.1", "127.0.0.2"]),
                "port": st.integers(1, 9),
                "workers": st.integers(1, 3),
                "proxy_host": st.sampled_from(["a.example", "b.example"]),
                "greeting": st.sampled_from(["Hello.", "Hi."]),
                "max_calls": st.integers(1, 9),
            },
        ),
        st.fixed_dictionaries({}, optional={"port": st.integers(1, 9), "max_calls": st.integers(1, 9)}),
    )
    def test_with_lasting(self, new: dict[str, object], old: dict[str, object]) -> None:
        """Those of the old, everything else of the new."""
        made = with_lasting(settings(new), settings(old))
        self.assertEqual({key.name for key in changed(made, settings(old))} & self.RESTART, set())
        self.assertLessEqual({key.name for key in changed(made, settings(new))}, self.RESTART)

    def test_same(self) -> None:
        self.assertEqual(list(changed(settings(), settings())), [])
