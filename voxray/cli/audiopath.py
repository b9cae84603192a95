"""The way of the audio through the daemon, in words, by the tables that the call goes by."""

from __future__ import annotations

from collections.abc import Iterator

from voxray.audio.formats import Conversion, heard_as
from voxray.catalog import Offered, offered
from voxray.catalog_carriers import wire_of
from voxray.frames import Encoding, MediaFormat
from voxray.settings import Settings


def lines(carrier: str, settings: Settings) -> Iterator[tuple[str, str]]:
    """What is heard, what is transcribed, what is said: a name and the steps of each."""
    wire = wire_of(carrier, settings)
    came = _on_the_wire(carrier, wire, settings)
    judged = heard_as(wire)
    yield "heard", f"{came} -> {steps(judged)} -> {settings.turns.vad_type} at {judged.target.rate_hz} Hz"
    yield "transcribed", f"{came} -> {_transcribed(wire, offered('stt', settings))}"
    yield "said", f"{_said(wire, offered('tts', settings))} -> {came}"


def named(media_format: MediaFormat) -> str:
    return f"{media_format.encoding.value} {media_format.rate_hz} Hz"


def steps(conversion: Conversion) -> str:
    """`decoded, 8000 -> 16000 Hz, ...`; "as it is" for none."""
    source, target = conversion.source, conversion.target
    done = []
    if conversion.needed:
        if source.encoding is not Encoding.L16:
            done.append("decoded")
        if conversion.resamples:
            done.append(f"resampled {source.rate_hz} to {target.rate_hz} Hz")
        if target.encoding is not Encoding.L16:
            done.append("encoded")
    return ", ".join(done) or "as it is"


def _on_the_wire(carrier: str, wire: MediaFormat, settings: Settings) -> str:
    if carrier != "telnyx":
        return f"{carrier} {named(wire)}"
    codec = settings.media.telnyx_codec
    opus = " (opus to and from this at the edge)" if codec == "OPUS" else ""
    other = "" if codec == "PCMU" else "; a leg in another codec is heard in that"
    return f"telnyx {named(wire)}{opus}{other}"


def _transcribed(wire: MediaFormat, stt: Offered) -> str:
    if stt.host:
        own = MediaFormat(Encoding.L16, wire.rate_hz)
        return f"{steps(Conversion(wire, own))}, as WAV -> {stt.provider} {stt.model}"
    if stt.audio is None:
        return f"{steps(Conversion(wire, MediaFormat(Encoding.L16, wire.rate_hz)))} -> {stt.provider}"
    return f"{steps(Conversion(wire, stt.audio))} -> {stt.provider} {stt.model}"


def _said(wire: MediaFormat, tts: Offered) -> str:
    maker = f"{tts.provider} {tts.voice or tts.model}"
    if tts.audio is None:
        return f"{maker}, in the format its WAV header tells -> resampled to {wire.rate_hz} Hz if need be"
    return f"{maker} {named(tts.audio)} -> {steps(Conversion(tts.audio, wire))}"
