"""Opus: what was said comes out a known time later; spoilt packets do no harm, lost ones are made up."""

from __future__ import annotations

import gc
import random
from itertools import pairwise
from pathlib import Path
from weakref import ref

import numpy as np
import opuslib
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from twisted.trial.unittest import SynchronousTestCase

from voxray.audio import opus
from voxray.audio.opus import RATE_HZ, OpusDecoder, OpusEncoder
from voxray.audio.resample import resampled
from voxray.audio.tones import sine
from voxray.audio.wav import read_wav

Samples = NDArray[np.int16]

CALLERS = Path(__file__).parent.parent / "voxray" / "data" / "callers"
WIDEBAND = ("dickens-times", "austen-amiable", "dickens-heaven", "dickens-wisdom")  # recorded at 16 kHz
PACKET = 640  # 20 ms of L16
DELAY = round(opus.DELAY_MS * RATE_HZ / 1000)


def speech(name: str) -> Samples:
    samples, described = read_wav((CALLERS / f"{name}.wav").read_bytes())
    return resampled(samples, described.rate_hz, RATE_HZ)


def encoded(samples: Samples, packet_ms: int = 20) -> list[bytes]:
    encoder, size = OpusEncoder(), packet_ms * RATE_HZ // 1000
    return [
        encoder.encode(samples[at : at + size].tobytes())
        for at in range(0, samples.size // size * size, size)
    ]


def decoded(packets: list[bytes]) -> Samples:
    decoder = OpusDecoder()
    return np.frombuffer(b"".join(map(decoder.decode, packets)), "<i2")


def both(sent: Samples, heard: Samples) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The same stretch of what was sent and of what was heard, the delay taken out."""
    size = min(sent.size, heard.size) - DELAY
    return sent[:size].astype(np.float64), heard[DELAY : DELAY + size].astype(np.float64)


def likeness(sent: Samples, heard: Samples) -> float:
    """Their correlation, -1..1."""
    return float(np.corrcoef(*both(sent, heard))[0, 1])


def snr_db(sent: Samples, heard: Samples) -> float:
    wanted, got = both(sent, heard)
    return float(10 * np.log10(np.square(wanted).sum() / np.square(got - wanted).sum()))


def loudness(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """RMS of each 20 ms."""
    whole = samples[: samples.size // 320 * 320].reshape(-1, 320)
    return np.asarray(np.sqrt(np.square(whole).mean(axis=1)))


class RoundTripTests(SynchronousTestCase):
    """Encoded and decoded. Opus keeps what is heard, not the waveform: the bounds are far from G.711's."""

    def test_tones(self) -> None:
        """A tone is that tone: its frequency to a hertz, 95% of the power within 5 Hz of it, its level."""
        for freq_hz in (200.0, 440.0, 1_000.0, 3_400.0, 6_000.0):
            sent = sine(freq_hz, 3000, RATE_HZ, 0.3)
            heard = decoded(encoded(sent))[RATE_HZ : 2 * RATE_HZ].astype(np.float64)
            power = np.square(np.abs(np.fft.rfft(heard * np.hanning(heard.size))))
            self.assertLessEqual(abs(int(power.argmax()) - freq_hz), 1, freq_hz)
            near = power[round(freq_hz) - 5 : round(freq_hz) + 6].sum() / power.sum()
            self.assertGreater(near, 0.95, freq_hz)
            self.assertLess(abs(20 * np.log10(heard.std() / sent.std())), 1.5, freq_hz)

    def test_speech(self) -> None:
        """Readers at 16 kHz: 4 dB and a correlation of 0.8 on a noisy line, 9 and 0.94 on good ones.

        Loud where they were loud: the course of the loudness correlates to 0.98 on all of them.
        """
        for name in WIDEBAND:
            sent = speech(name)
            for packet_ms in (20, 40):
                heard = decoded(encoded(sent, packet_ms))
                least, least_db = (0.8, 4.0) if name == "austen-amiable" else (0.93, 9.0)
                self.assertGreater(likeness(sent, heard), least, name)
                self.assertGreater(snr_db(sent, heard), least_db, name)
                wanted, got = both(sent, heard)
                self.assertGreater(np.corrcoef(loudness(wanted), loudness(got))[0, 1], 0.98, name)

    def test_delay(self) -> None:
        """What comes out is `DELAY_MS` later, to the sample: any other shift is less like it."""
        sent = speech("dickens-times")
        heard = decoded(encoded(sent)).astype(np.float64)
        window = sent[8_000:40_000].astype(np.float64)
        matches = [float(window @ heard[8_000 + shift : 40_000 + shift]) for shift in range(2 * DELAY)]
        self.assertEqual(int(np.argmax(matches)), DELAY)

    def test_size(self) -> None:
        """A second of speech is at most 5,000 bytes: 40% over the bit rate that is asked for."""
        for name in WIDEBAND:
            packets = encoded(speech(name))
            self.assertLess(sum(map(len, packets)) / (len(packets) * 0.02), 5_000, name)

    def test_the_library_understands_us(self) -> None:
        """opuslib's own decoder makes the same samples of our packets, at 48 kHz a tone of the same pitch."""
        packets = encoded(sine(440, 1000, RATE_HZ, 0.3), 40)
        theirs = opuslib.Decoder(RATE_HZ, 1)
        self.assertEqual(b"".join(theirs.decode(p, 640) for p in packets), decoded(packets).tobytes())
        wide = opuslib.Decoder(48_000, 1)
        heard = np.frombuffer(b"".join(wide.decode(p, 1920) for p in packets), "<i2")[-24_000:]
        self.assertEqual(int(np.abs(np.fft.rfft(heard.astype(np.float64))).argmax()) * 2, 440)

    def test_any_senders_rate(self) -> None:
        """Packets made at 8, 12, 24 or 48 kHz, in mono or stereo, of 10 to 60 ms: the same tone at 16 kHz."""
        for rate in (8_000, 12_000, 16_000, 24_000, 48_000):
            for channels in (1, 2):
                for packet_ms in (10, 20, 60):
                    sent = np.repeat(sine(500, 1200, rate, 0.3), channels)
                    encoder = opuslib.Encoder(rate, channels, opuslib.APPLICATION_AUDIO)
                    size = packet_ms * rate // 1000
                    pieces = np.split(sent, range(size * channels, sent.size, size * channels))
                    packets = [encoder.encode(piece.tobytes(), size) for piece in pieces]
                    heard = decoded(packets)
                    self.assertEqual(heard.size, 1200 * RATE_HZ // 1000)
                    spectrum = np.abs(np.fft.rfft(heard[-RATE_HZ:].astype(np.float64)))
                    self.assertEqual(int(spectrum.argmax()), 500, (rate, channels, packet_ms))


class EncoderTests(SynchronousTestCase):
    def test_lengths(self) -> None:
        """One packet of 20 to 120 ms in steps of 20; any other length is a ValueError, half a sample too."""
        encoder, decoder = OpusEncoder(), OpusDecoder()
        for packets in range(1, 7):
            pcm = bytes(packets * PACKET)
            self.assertEqual(len(decoder.decode(encoder.encode(pcm))), len(pcm))
        for size in (0, 1, 2, 319, 320, PACKET - 2, PACKET + 1, PACKET + 320, 7 * PACKET, 100 * PACKET):
            self.assertRaises(ValueError, encoder.encode, bytes(size))
        self.assertTrue(opus.is_packet(encoder.encode(bytes(PACKET))))

    def test_reset(self) -> None:
        """After a reset nothing is left of what was said before: the packets are a new encoder's."""
        tone = sine(440, 400, RATE_HZ, 0.3)
        encoder = OpusEncoder()
        for at in range(0, 6400, 320):
            encoder.encode(speech("dickens-times")[at : at + 320].tobytes())
        encoder.reset()
        again = [encoder.encode(tone[at : at + 320].tobytes()) for at in range(0, tone.size, 320)]
        self.assertEqual(again, encoded(tone))

    def test_silence(self) -> None:
        """A stream of silence is silence, and costs next to nothing."""
        packets = encoded(np.zeros(RATE_HZ, np.int16))
        self.assertLess(len(packets[-1]), 12)
        self.assertLess(int(np.abs(decoded(packets)).max()), 4)


class DecoderTests(SynchronousTestCase):
    @settings(max_examples=500, deadline=None)
    @given(st.binary(max_size=300))
    def test_any_bytes(self, data: bytes) -> None:
        """Audio of 2.5 to 120 ms, or ValueError, and `is_packet` says which."""
        if not opus.is_packet(data):
            self.assertRaises(ValueError, OpusDecoder().decode, data)
            return
        audio = OpusDecoder().decode(data)
        self.assertIn(len(audio), [2 * 40 * n for n in range(1, 49)])

    def test_large(self) -> None:
        """A message full of noise is no more work than a packet."""
        for size in (1_276, 10_000, 65_536, 10**6):
            for seed in range(20):
                data = random.Random(seed).randbytes(size)
                if opus.is_packet(data):
                    self.assertLessEqual(len(OpusDecoder().decode(data)), 2 * 120 * 16)
                else:
                    self.assertRaises(ValueError, OpusDecoder().decode, data)

    def test_after_nonsense(self) -> None:
        """What was no packet leaves no trace: those after it sound as if it had never come."""
        packets, decoder = encoded(speech("dickens-heaven")[:16_000]), OpusDecoder()
        heard = []
        for packet in packets:
            for nonsense in (b"", b"\xff", b"\x03", packet[:1] + b"\xff" * 3000):
                self.assertRaises(ValueError, decoder.decode, nonsense)
            heard.append(decoder.decode(packet))
        self.assertEqual(b"".join(heard), decoded(packets).tobytes())

    def test_lost_packets(self) -> None:
        """What stands in for one packet in ten is nearer to what was said than silence is."""
        for name in WIDEBAND:
            sent = speech(name)
            packets = encoded(sent)
            decoder, made_up, silent = OpusDecoder(), bytearray(), bytearray()
            deaf = OpusDecoder()
            for number, packet in enumerate(packets):
                if number % 10 == 5:
                    made_up += decoder.conceal(1, packets[number + 1] if number + 1 < len(packets) else b"")
                    silent += bytes(PACKET)
                else:
                    made_up += decoder.decode(packet)
                    silent += deaf.decode(packet)
            heard, dumb = np.frombuffer(made_up, "<i2"), np.frombuffer(silent, "<i2")
            self.assertEqual(heard.size, dumb.size)
            self.assertGreater(likeness(sent, heard), likeness(sent, dumb), name)

    def test_as_long_as_it_should_be(self) -> None:
        """Each is as long as the last packet was; all together no longer than `MAX_CONCEALED_MS`."""
        tone = sine(440, 480, RATE_HZ, 0.3)
        for packet_ms in (20, 40, 60, 120):
            packets, decoder = encoded(tone, packet_ms), OpusDecoder()
            decoder.decode(packets[0])
            most = max(1, opus.MAX_CONCEALED_MS // packet_ms)
            for lost in (1, 2, 3, 10, 11, 10**9):
                expected = min(lost, most) * packet_ms * 32
                self.assertEqual(len(decoder.conceal(lost, packets[1])), expected, (packet_ms, lost))

    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.binary(min_size=1, max_size=80).filter(opus.is_packet), min_size=2, max_size=6))
    def test_between_any_packets(self, packets: list[bytes]) -> None:
        """Whatever came before and comes after, in any of Opus's modes, a lost packet can be made up."""
        decoder = OpusDecoder()
        for before, after in pairwise(packets):
            size = len(decoder.decode(before))
            self.assertEqual(len(decoder.conceal(1, after)), size)

    def test_the_tone_goes_on(self) -> None:
        """One lost packet of a tone is not a hole: at least half the level, and less after long."""
        packets, decoder = encoded(sine(440, 1000, RATE_HZ, 0.3)), OpusDecoder()
        before = np.frombuffer(b"".join(map(decoder.decode, packets[:30])), "<i2")[-320:]
        filled = np.frombuffer(decoder.conceal(1, packets[31]), "<i2")
        self.assertGreater(filled.std(), before.std() / 2)
        long = np.frombuffer(decoder.conceal(10, packets[31]), "<i2")
        self.assertLess(long[-640:].std(), before.std() / 2)

    def test_nothing_to_go_by(self) -> None:
        """Lost before the first packet: silence of the same length."""
        self.assertEqual(OpusDecoder().conceal(2, b""), bytes(2 * PACKET))

    def test_the_senders_own_echo(self) -> None:
        """Where the sender puts an echo of each packet into the next one, a lost one is taken from there."""
        encoder = opuslib.Encoder(RATE_HZ, 1, opuslib.APPLICATION_VOIP)
        for request, value in ((opus.ctl.set_inband_fec, 1), (opus.ctl.set_packet_loss_perc, 30)):
            opus.c_encoder.encoder_ctl(encoder.encoder_state, request, value)
        sent = speech("dickens-times")
        packets = [encoder.encode(sent[at : at + 320].tobytes(), 320) for at in range(0, 32_000, 320)]
        scores = []
        for with_echo in (True, False):
            decoder, heard = OpusDecoder(), bytearray()
            for number, packet in enumerate(packets):
                if number % 5 == 4:
                    heard += decoder.conceal(1, packets[number + 1] if with_echo and number < 99 else b"")
                else:
                    heard += decoder.decode(packet)
            scores.append(snr_db(sent[:32_000], np.frombuffer(heard, "<i2")))
        self.assertGreater(scores[0], scores[1] + 1)

    def test_memory_is_given_back(self) -> None:
        """A decoder and an encoder that nobody has any more are gone, their C state with them."""
        destroyed: list[str] = []
        self.patch(opus.c_decoder, "destroy", lambda state: destroyed.append("decoder"))
        self.patch(opus.c_encoder, "destroy", lambda state: destroyed.append("encoder"))
        decoder, encoder = OpusDecoder(), OpusEncoder()
        gone = ref(decoder), ref(encoder)
        del decoder, encoder
        gc.collect()
        self.assertEqual([at() for at in gone], [None, None])
        self.assertEqual(sorted(destroyed), ["decoder", "encoder"])
