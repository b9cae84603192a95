"""`runner_transport: auto`: each request tells by its shape whose it is, and the weakest door is no door."""

from __future__ import annotations

import base64
import itertools
from urllib.parse import urlencode

from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from tests.house import House, Line
from tests.signers import HOST, SIGNERS, Signer, stream_of
from tests.test_attack_trust import Trusted
from tests.test_call_call import QUIET, TONE
from tests.wsframes import handshake
from voxray.audio.codec import codec_for
from voxray.audio.g711 import ulaw_to_linear
from voxray.frames import Encoding, MediaFormat


class OpenTests(SynchronousTestCase):
    """Nobody has a secret: all four carriers are served."""

    def house(self) -> House:
        return House(self, {"runner_transport": "auto", "proxy_host": HOST})

    def speak(self, house: House, line: Line, signer: Signer) -> None:
        for packet in itertools.chain([TONE] * 30, QUIET, QUIET):
            sent = packet
            if signer.name == "exotel":
                sent = codec_for(MediaFormat(Encoding.L16, 8000)).encode(ulaw_to_linear(packet))
            line.send(signer.voice(sent))
            house.reactor.advance(0.02)

    def test_each_by_its_shape(self) -> None:
        """The webhook is answered in the carrier's own words, its stream is understood in its codec."""
        for name, signer in SIGNERS.items():
            house = self.house()
            sid = signer.call_sid(7)
            answer = house.ask("POST", "/", urlencode(signer.form(sid)).encode(), host=HOST)
            url, parameters = stream_of(name, answer.body)
            self.assertEqual(url, f"wss://{HOST}/telephony/ws")
            line = house.socket()
            line.send(signer.start(sid, parameters))
            self.speak(house, line, signer)
            [call] = house.daemon._parts.registry
            self.assertEqual((call.info.carrier, call.info.call_sid), (name, sid))
            [(utterance, _)] = house.stt.asked
            encoding = Encoding.L16 if name == "exotel" else Encoding.ULAW
            self.assertEqual(utterance.media_format.encoding, encoding)

    def test_what_came_before_start(self) -> None:
        """Messages read while the carrier is not known are replayed to the call, in order."""
        house = self.house()
        line = house.socket()
        line.send({"event": "connected", "protocol": "Call", "version": "1.0.0"})
        payload = base64.b64encode(TONE).decode()
        for _ in range(15):
            line.send({"event": "media", "media": {"payload": payload}})
        twilio = SIGNERS["twilio"]
        line.send(twilio.start(twilio.call_sid(1), {}))
        [call] = house.daemon._parts.registry
        self.assertEqual(call._ear.heard_ms, 15 * 20.0)

    def test_nobodys(self) -> None:
        """A start of no carrier is closed like any other that is none; so is a socket that never tells."""
        house = self.house()
        for message in ({"event": "start", "start": {"x": 1}}, {"event": "media"}):
            line = house.socket()
            for _ in range(25):
                line.send(message)
            self.assertEqual(line.code, 1008)
        self.assertEqual(house.ask("POST", "/", b"a=b", host=HOST).status, 403)

    def test_status_page(self) -> None:
        """It names what was asked for."""
        answer = self.house().ask("GET", "/", host=HOST)
        self.assertEqual(answer.json["data"], {"status": "Bot started with auto"})


@shows("T1")
class WeakestDoorTests(SynchronousTestCase):
    """One carrier has its secret: those without are not in service."""

    def test_without_a_secret(self) -> None:
        """A Plivo webhook, which nothing could check, is refused where Twilio's are checked."""
        twilio, plivo = SIGNERS["twilio"], SIGNERS["plivo"]
        house = Trusted(self, twilio, runner_transport="auto")
        body = urlencode(plivo.form(plivo.call_sid(1))).encode()
        self.assertEqual(house.ask("POST", "/", body, host=HOST).status, 403)
        path, parameters = house.answered(twilio.call_sid(1))
        self.assertEqual(house.streams(path, twilio.call_sid(1), parameters), "")
        line = Line(house)
        line.raw(handshake())
        line.transport.clear()
        line.send(plivo.start(plivo.call_sid(2), {}))
        house.pass_time(11, 0.5)
        self.assertEqual(line.code, 1008)
        self.assertEqual([call.info.carrier for call in house.daemon._parts.registry], ["twilio"])

    def test_no_token(self) -> None:
        """A Twilio stream without its token is no call, although its socket was let in to tell."""
        twilio = SIGNERS["twilio"]
        house = Trusted(self, twilio, runner_transport="auto")
        line = Line(house)
        line.raw(handshake())
        line.transport.clear()
        line.send(twilio.start(twilio.call_sid(1), {}))
        self.assertEqual(line.code, 1008)
        self.assertEqual(len(house.daemon._parts.registry), 0)
