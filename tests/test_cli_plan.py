"""What `voxray check` reads off tables is what the daemon does: tables held against the real things."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given as drawn
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tests.configs import settings as settings_of
from voxray import catalog, catalog_carriers, telephony
from voxray.audio.codec import RATES_HZ, codec_for
from voxray.audio.formats import HEARING_HZ, Conversion, heard_as
from voxray.call.voicing import Voicing
from voxray.cli import audiopath, plan
from voxray.config import names
from voxray.config.keys_server import PLIVO_TYPES, TELNYX_CODECS
from voxray.frames import ULAW_8K, Encoding, MediaFormat, Speech, StreamStarted
from voxray.http import HttpClient
from voxray.interfaces import Ability
from voxray.providers.espeak import Espeak
from voxray.providers.flite import VOICES, Flite
from voxray.providers.scripted import ToneSynthesizer
from voxray.serializers import formats

DATA = Path(__file__).parent / "data"
TELNYX_PUBLIC = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
KEYS = {
    "twilio_account_sid": "AC0123456789abcdef0123456789abcdef",
    "twilio_auth_token": "twilio-secret",
    "telnyx_api_key": "telnyx-key",
    "telnyx_public_key": TELNYX_PUBLIC,
    "telnyx_account_sid": "3e6f",
    "telnyx_application_sid": "1494",
    "plivo_auth_id": "MAXXXXXXXXXXXXXXXXXX",
    "plivo_auth_token": "plivo-secret",
    "exotel_account_sid": "example1",
    "exotel_api_key": "exotel-key",
    "exotel_api_token": "exotel-token",
    "exotel_ws_user": "user",
    "exotel_ws_password": "password",
}
FORMATS = [MediaFormat(encoding, 8000) for encoding in Encoding] + [
    MediaFormat(Encoding.L16, rate) for rate in RATES_HZ
]

WIRES = [*formats.TELNYX.values(), *formats.PLIVO.values(), MediaFormat(Encoding.L16, 24_000)]
"""All that any carrier has."""


def started(carrier: str, settings: Any, described: dict[str, Any]) -> StreamStarted:
    """What the carrier's own serializer makes of a `start` with that format."""
    path = DATA / carrier / "call.jsonl"
    lines = [json.loads(line).get("msg") for line in path.read_text("utf-8").splitlines()]
    message = next(each for each in lines if each and each["event"] == "start")
    for name in ("mediaFormat", "media_format"):
        if name in message["start"]:
            message["start"][name] = described
        elif name in message:
            message[name] = described
    serializer = catalog_carriers.build_carrier(carrier).serializer(settings, {})
    frame = serializer.decode(json.dumps(message).encode())
    assert isinstance(frame, StreamStarted)
    return frame


class WireTests(SynchronousTestCase):
    """`wire_of` against the serializers."""

    def test_twilio(self) -> None:
        """u-law, always."""
        frame = started(
            "twilio", settings_of(), {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
        )
        self.assertEqual(catalog_carriers.wire_of("twilio", settings_of()), frame.wire.heard)
        self.assertEqual(frame.wire.spoken, frame.wire.heard)

    def test_telnyx(self) -> None:
        """What is asked for is what we send, and what comes where the leg has it."""
        self.assertEqual(set(TELNYX_CODECS), set(formats.TELNYX))
        for codec in TELNYX_CODECS:
            settings = settings_of({"telnyx_codec": codec})
            rate = formats.TELNYX[codec].rate_hz
            frame = started("telnyx", settings, {"encoding": codec, "sample_rate": rate, "channels": 1})
            wire = catalog_carriers.wire_of("telnyx", settings)
            self.assertEqual((frame.wire.heard, frame.wire.spoken), (wire, wire))

    def test_plivo(self) -> None:
        """Both ways the type that the document asks for."""
        self.assertEqual(set(PLIVO_TYPES), set(formats.PLIVO))
        for asked in PLIVO_TYPES:
            kind, _, rate = asked.partition(";rate=")
            settings = settings_of({"plivo_content_type": asked})
            frame = started("plivo", settings, {"encoding": kind, "sampleRate": int(rate)})
            self.assertEqual(catalog_carriers.wire_of("plivo", settings), frame.wire.spoken)

    def test_exotel(self) -> None:
        """Linear PCM at the rate that is asked for, where the stream says nothing else."""
        for rate in (8000, 16_000, 24_000):
            settings = settings_of({"exotel_sample_rate": rate})
            frame = started("exotel", settings, {"encoding": "base64"})
            self.assertEqual(catalog_carriers.wire_of("exotel", settings), frame.wire.heard)


class ConversionTests(SynchronousTestCase):
    """The steps that are named are those that a call takes."""

    def test_voicing(self) -> None:
        """Untouched bytes where nothing is needed; a resampler where one is said to be; else neither."""
        for source, wire in product(FORMATS, WIRES):
            conversion = Conversion(source, wire)
            voicing = Voicing(wire)
            payload = codec_for(source).encode(np.full(source.rate_hz // 10, 1000, np.int16))
            out = voicing.feed(Speech(payload, source))
            self.assertEqual(voicing._resampler is not None, conversion.resamples, (source, wire))
            if not conversion.needed:
                self.assertEqual(out, payload)
            self.assertEqual("resampled" in audiopath.steps(conversion), conversion.resamples)

    def test_words(self) -> None:
        """Each step in its order; of none it is said that the bytes pass."""
        pcm = MediaFormat(Encoding.L16, 24_000)
        self.assertEqual(audiopath.steps(Conversion(ULAW_8K, ULAW_8K)), "as it is")
        self.assertEqual(audiopath.steps(Conversion(pcm, ULAW_8K)), "resampled 24000 to 8000 Hz, encoded")
        self.assertEqual(audiopath.steps(heard_as(ULAW_8K)), "decoded")
        self.assertEqual(heard_as(pcm).target.rate_hz, HEARING_HZ)

    def test_lines(self) -> None:
        """The whole way, for one of each kind."""
        self.assertEqual(
            dict(audiopath.lines("twilio", settings_of({"vad_type": "energy"}))),
            {
                "heard": "twilio mulaw 8000 Hz -> decoded -> energy at 8000 Hz",
                "transcribed": "twilio mulaw 8000 Hz -> decoded, resampled 8000 to 16000 Hz -> local "
                "moonshine-tiny-en",
                "said": "local rms l16 16000 Hz -> resampled 16000 to 8000 Hz, encoded -> twilio mulaw "
                "8000 Hz",
            },
        )
        remote = {"provider": "groq", "api_keys": {"groq": "k"}, "exotel_sample_rate": 16_000}
        self.assertEqual(
            dict(audiopath.lines("exotel", settings_of(remote))),
            {
                "heard": "exotel l16 16000 Hz -> resampled 16000 to 8000 Hz -> silero at 8000 Hz",
                "transcribed": "exotel l16 16000 Hz -> as it is, as WAV -> groq whisper-large-v3-turbo",
                "said": "groq hannah, in the format its WAV header tells -> resampled to 16000 Hz if need be "
                "-> exotel l16 16000 Hz",
            },
        )
        opus = dict(audiopath.lines("telnyx", settings_of({"telnyx_codec": "OPUS"})))
        self.assertIn("telnyx l16 16000 Hz (opus to and from this at the edge)", opus["heard"])


class OfferedTests(SynchronousTestCase):
    """`catalog.offered` against the providers that are built."""

    def built(self, settings: Any) -> Any:
        clock: Any = Clock()
        worker: Any = None
        return catalog.build_providers(settings, HttpClient(clock), clock, worker, worker)

    def test_as_built(self) -> None:
        """Name, model, voice and host are those of the provider itself, given or left open."""
        chosen = {"stt_model": "a", "model": "b", "tts_model": "c", "tts_voice": "slt"}
        own = {"base_urls": {"openai": "http://127.0.0.1:9/v1"}}
        for provider, more in product(names.BUILT["stt"], ({}, chosen, own)):
            document = {"provider": provider, "api_keys": {"openai": "k", "groq": "k"}, **more}
            settings = settings_of(document)
            providers = self.built(settings)
            for stage in names.STAGES:
                real, said = getattr(providers, stage), catalog.offered(stage, settings)
                self.assertEqual((said.provider, said.model), (real.name, real.model), (document, stage))
                host = getattr(real, "_host", None)
                self.assertEqual(said.host, host.base_url if host else "")
                if provider in names.KEY_OF and stage == "tts":
                    self.assertEqual(said.voice, real.voice)

    def test_scenario(self) -> None:
        """An owner's scenario is known by its file's name."""
        path = Path(self.mktemp())
        path.write_text('{"business": "Bakery"}', encoding="utf-8")
        settings = settings_of({"scenario_file": str(path.absolute())})
        self.assertEqual(catalog.offered("llm", settings).model, self.built(settings).llm.model)

    def test_local_voices(self) -> None:
        """The libraries' own rates are those of the table."""
        for voice in VOICES:
            spoken = Flite().speak("ready", voice)
            said = catalog.offered("tts", settings_of({"tts_voice": voice})).audio
            self.assertEqual(said, MediaFormat(Encoding.L16, spoken.rate_hz))
        said = catalog.offered("tts", settings_of({"tts_voice": "espeak:de"})).audio
        self.assertEqual(said, MediaFormat(Encoding.L16, Espeak().speak("ready", "de").rate_hz))

    def test_tones(self) -> None:
        """Of the scripted voice too."""
        said = catalog.offered("tts", settings_of({"provider": "scripted"})).audio
        self.assertEqual(said, ToneSynthesizer(Clock())._format)


class ServiceTests(SynchronousTestCase):
    """Who is in service, and what is asked of whom, against the daemon's own lines."""

    @hypothesis_settings(deadline=None, max_examples=150)
    @drawn(
        st.sampled_from(names.AUTHS),
        st.sampled_from(("", names.AUTO, *names.CARRIERS_BUILT)),
        st.sets(st.sampled_from(sorted(KEYS))),
    )
    def test_as_served(self, mode: str, carrier: str, keys: set[str]) -> None:
        """The same carriers, the same direction, the same rules, whichever secrets are there."""
        document = {
            "telephony_auth": mode,
            "runner_transport": carrier,
            "proxy_host": "bot.example.com",
            "api_keys": {key: KEYS[key] for key in keys},
        }
        try:
            settings = settings_of(document)
        except Exception:  # noqa: BLE001 - refused: then nothing is in service
            return
        served = plan.service(settings)
        if not carrier:
            self.assertEqual(served, {})
            return
        trunks = telephony.lines(settings, MemoryReactorClock()).trunks
        self.assertEqual(served, {name: trunk.inbound for name, trunk in trunks.items()})
        for name, trunk in trunks.items():
            self.assertEqual(plan.rules(settings, name), trunk.rules)

    def test_dial_keys(self) -> None:
        """The keys said to place calls are those that give a carrier the ability, all of them."""
        for carrier, needed in names.DIAL_KEYS.items():
            made = catalog_carriers.build_carrier(carrier)
            for left_out in (None, *needed):
                keys = {key: KEYS[key] for key in needed if key != left_out}
                settings = settings_of({"proxy_host": "a.b", "api_keys": keys})
                control = made.control(settings, None, None)
                able = control is not None and Ability.DIAL in control.abilities
                self.assertEqual(able, left_out is None, (carrier, left_out))

    def test_static_streams(self) -> None:
        """Said of the same carriers in both places."""
        for carrier in names.CARRIERS_BUILT:
            made = catalog_carriers.build_carrier(carrier)
            self.assertEqual(made.static_streams, carrier in catalog_carriers.STATIC_STREAMS)

    def test_trust_in_words(self) -> None:
        """What `telephony_auth` comes to, and which variable would make more of it."""
        open_door = plan.trust_of(settings_of(), "twilio")
        self.assertIn("NOTHING is checked", open_door)
        self.assertIn("set TWILIO_AUTH_TOKEN", open_door)
        given = {"proxy_host": "a.b", "api_keys": KEYS}
        both = plan.trust_of(settings_of(given), "twilio")
        self.assertIn("webhooks are signed, sockets bring the token", both)
        self.assertNotIn("set ", both)
        self.assertIn("the password or the token", plan.trust_of(settings_of(given), "exotel"))
        signed = plan.trust_of(settings_of({**given, "telephony_auth": "signature"}), "plivo")
        self.assertTrue(signed.endswith("signature: webhooks are signed"), signed)
        token = plan.trust_of(settings_of({"telephony_auth": "token"}), "telnyx")
        self.assertIn("anybody may ask for one", token)

    def test_where(self) -> None:
        """The address to set at each carrier; with Exotel's password its place, not itself."""
        for carrier in names.CARRIERS_BUILT:
            self.assertIn("bot.example.com/", plan.where(settings_of(), carrier, "bot.example.com"))
        given = settings_of({"runner_transport": "exotel", "api_keys": KEYS})
        said = plan.where(given, "exotel", "a.b")
        self.assertIn("wss://EXOTEL_WS_USER:EXOTEL_WS_PASSWORD@a.b/telephony/ws", said)
        self.assertNotIn(KEYS["exotel_ws_password"] + "@", said)
