"""G10: what a caller hears of each fault of a vendor's, on the real daemon: how long nothing, and then what.

    python -m bench.vendor_faults [--only llm] [--at-once 4]

For each stage and fault: a daemon of its own, a vendor on loopback that has the fault from then on, one call.
The caller says a sentence and listens. What comes back is told by its pitch: the vendor's voice says the
apology, the holding phrase and everything else each on a note of its own; a beep is a beep.
Bounds: no silence over four seconds, from the caller's last word until the answer's end or an apology.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import socket
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.soak import QUIET, STOP, UPGRADE, Daemon, media, text
from voxray.audio.g711 import linear_to_ulaw, ulaw_to_linear
from voxray.audio.resample import resampled
from voxray.audio.tones import sine
from voxray.audio.wav import read_wav, wav_bytes

MOST_SECS = 4.0
NOTES = {"apology": 600.0, "hold": 800.0, "goodbye": 1000.0, "answer": 1250.0, "beep": 440.0}
PHRASES = {"Sorry.": "apology", "Wait.": "hold", "Bye.": "goodbye"}
CALLER = Path(__file__).parent.parent / "voxray" / "data" / "callers" / "did-not-understand.wav"
STAGES = {"stt": "transcriptions", "llm": "completions", "tts": "speech"}
FAULTS = (
    "refuses connections", "swallows connections", "hangs before its headers", "hangs after them",
    "hangs midway", "resets midway", "is cut off midway", "refuses the key", "is busy: 429, 1 s",
    "is busy: 429, 60 s", "answers 500", "answers with a page", "takes 3.5 s", "is well",
)  # fmt: skip


def event(words: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": {"content": words}}]}).encode() + b"\n\n"


def spoken(body: bytes) -> bytes:
    asked = json.loads(body)
    note = NOTES[PHRASES.get(asked["input"], "answer")]
    pcm = sine(note, 900.0, 24_000)
    return wav_bytes(pcm, 24_000) if asked["response_format"] == "wav" else pcm.astype("<i2").tobytes()


def good(kind: str, body: bytes) -> tuple[str, list[bytes]]:
    """Content type and pieces of an answer."""
    if kind == "transcriptions":
        return "application/json", [b'{"text":', b' "When do you open?"}']
    if kind == "completions":
        return "text/event-stream", [event("We open "), event("at nine. "), b"data: [DONE]\n\n"]
    audio = spoken(body)
    return "audio/wav" if audio.startswith(b"RIFF") else "audio/pcm", [audio[:9600], audio[9600:]]


@dataclass
class Vendor:
    """On one port; `fault` is what it has now."""

    fault: str = "is well"
    requests: int = 0
    port: int = 0
    server: asyncio.Server | None = None
    writers: set[asyncio.StreamWriter] = field(default_factory=set)
    full: list[socket.socket] = field(default_factory=list)

    async def start(self) -> None:
        self.server = await asyncio.start_server(self.connected, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.add(writer)
        with suppress(asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                lines = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
                body = await reader.readexactly(int(lines.get("content-length", 0)))
                await self.answer(head.split(" ")[1].rpartition("/")[2], body, writer)
                await writer.drain()
        self.writers.discard(writer)
        writer.close()

    async def answer(self, kind: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        if kind == "models":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            return
        self.requests += 1
        status = {"refuses": "401 No", "is busy:": "429 Later", "answers 500": "500 Oops"}
        for words, line in status.items():
            if self.fault.startswith(words):
                wait = f"Retry-After: {self.fault.split(' ')[3]}\r\n" if "429" in line else ""
                writer.write(f"HTTP/1.1 {line}\r\n{wait}Content-Length: 2\r\n\r\n{{}}".encode())
                return
        if self.fault == "hangs before its headers":
            await asyncio.sleep(60)
        if self.fault == "takes 3.5 s":
            await asyncio.sleep(3.5)
        content, pieces = good(kind, body)
        if self.fault == "answers with a page":
            content, pieces = "text/html", [b"<html>hello</html>"]
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: {content}\r\n".encode())
        writer.write(b"Transfer-Encoding: chunked\r\n\r\n")
        if self.fault == "hangs after them":
            await asyncio.sleep(60)
        writer.write(b"%x\r\n%b\r\n" % (len(pieces[0]), pieces[0]))
        await writer.drain()
        if "midway" in self.fault:
            await asyncio.sleep(60 if "hangs" in self.fault else 0.05)
            if "resets" in self.fault:
                writer.transport.abort()
            raise ConnectionResetError
        for piece in pieces[1:]:
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        writer.write(b"0\r\n\r\n")

    async def fall_ill(self, fault: str) -> None:
        """From now on."""
        self.fault = fault
        for writer in tuple(self.writers):
            writer.transport.abort()
        if "connections" in fault:
            await self.stop()
        if fault == "swallows connections":
            full = socket.socket()
            full.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            full.bind(("127.0.0.1", self.port))
            full.listen(0)
            one = socket.create_connection(("127.0.0.1", self.port))
            self.full = [full, one]

    async def stop(self) -> None:
        if self.server is not None:
            self.server.close()
            self.server = None
        for each in self.full:
            each.close()


@dataclass
class Heard:
    """One call: when the caller was done, and every packet that was no silence: when, and on which note."""

    done: float = 0.0
    sounds: list[tuple[float, str]] = field(default_factory=list)

    def silences(self) -> list[float]:
        """From the last word on: the caller's, then ours, up to the apology or the answer's end."""
        found, last = list[float](), self.done
        for at, what in self.sounds:
            found.append(at - last)
            last = at
            if what == "apology":
                break
        return found

    def story(self) -> str:
        """What was heard, in order, each once."""
        told: list[str] = []
        for _, what in self.sounds:
            if not told or told[-1] != what:
                told.append(what)
        return ", ".join(told) or "nothing"


def note_of(payload: bytes) -> str:
    """Which note it is; "" for silence."""
    samples = ulaw_to_linear(payload).astype(float)
    if samples.size < 160 or np.abs(samples).max() < 300:
        return ""
    at = np.arange(samples.size) / 8000
    power = {name: abs(np.exp(-2j * np.pi * hz * at) @ samples) for name, hz in NOTES.items()}
    return max(power, key=lambda name: power[name])


def caller() -> list[bytes]:
    samples, form = read_wav(CALLER.read_bytes())
    linear = resampled(samples, form.rate_hz, 8000)
    payload = linear_to_ulaw(linear[: int(np.flatnonzero(np.abs(linear) > 1000)[-1]) + 1])  # its last word
    return [media(payload[i : i + 160]) for i in range(0, len(payload) - 159, 160)]


async def frames(reader: asyncio.StreamReader, heard: Heard) -> None:
    """The carrier's ear: a message is heard when it comes (we are sent 200 ms ahead at most)."""
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            first, size = await reader.readexactly(2)
            if size == 126:
                size = int.from_bytes(await reader.readexactly(2), "big")
            body = await reader.readexactly(size)
            if first & 15 != 1 or not heard.done:
                continue
            message = json.loads(body)
            if message["event"] == "media":
                what = note_of(base64.b64decode(message["media"]["payload"]))
                if what:
                    heard.sounds.append((time.monotonic(), what))


async def listen(port: int, secs: float) -> Heard:
    """One call: a sentence, and so long an ear for what comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(UPGRADE)
    await reader.readuntil(b"\r\n\r\n")
    writer.write(
        text({"event": "start", "start": {"streamSid": "MZ" + "1" * 32, "callSid": "CA" + "1" * 32}})
    )
    heard = Heard()
    ear = asyncio.create_task(frames(reader, heard))
    words = caller()
    packets = [QUIET] * 25 + words + [QUIET] * round(secs * 50)
    began = time.monotonic()
    for i, packet in enumerate(packets):
        if i == 25 + len(words):
            heard.done = time.monotonic()
        if not heard.done and ear.done():
            raise ConnectionError("the call was not taken")
        writer.write(packet)
        await asyncio.sleep(max(0.0, began + i * 0.02 - time.monotonic()))
        at, what = heard.sounds[-1] if heard.sounds else (0.0, "")
        if at and time.monotonic() - at > (1.5 if what == "apology" else 6.0):
            break
    writer.write(STOP)
    ear.cancel()
    writer.close()
    return heard


async def one(stage: str, fault: str) -> tuple[Heard, int]:
    """A daemon, the fault, a call."""
    well, ill = Vendor(), Vendor()
    await well.start()
    await ill.start()
    with tempfile.TemporaryDirectory() as place:
        daemon = Daemon(Path(place), {
            "host": "127.0.0.1", "provider": "openai", f"{stage}_provider": "groq", "vad_type": "energy",
            "runner_transport": "twilio", "telephony_auth": "off", "greeting": "", "goodbye": "Bye.",
            "apology": "Sorry.", "hold_phrase": "Wait.", "failure_goodbye": "Bye.", "idle_prompt": "",
            "api_keys": {"openai": "k", "groq": "k"}, "log_level": "info",
            "base_urls": {
                "openai": f"http://127.0.0.1:{well.port}/v1", "groq": f"http://127.0.0.1:{ill.port}/v1",
            },
        })  # fmt: skip
        try:
            await asyncio.to_thread(daemon.ready)
            voice = ill if stage == "tts" else well
            while voice.requests < len(PHRASES):
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.3)
            await ill.fall_ill(fault)
            ill.requests = 0
            for patience in range(
                5
            ):  # a machine so busy that the daemon takes no calls says nothing of vendors
                with suppress(ConnectionError):
                    heard = await listen(daemon.port, 20.0)
                    break
                await asyncio.sleep(patience)
            if os.environ.get("SHOW"):
                print(daemon.log.read_text())
            return heard, ill.requests
        finally:
            daemon.process.terminate()
            await asyncio.to_thread(daemon.process.wait, 20)
            await well.stop()
            await ill.stop()


async def run(options: argparse.Namespace) -> int:
    room, bad = asyncio.Semaphore(options.at_once), 0
    pairs = [(stage, fault) for stage in STAGES for fault in FAULTS]
    pairs = [pair for pair in pairs if options.only in " ".join(pair)]

    async def each(stage: str, fault: str) -> tuple[Heard, int]:
        async with room:
            return await one(stage, fault)

    found = await asyncio.gather(*(each(*pair) for pair in pairs))
    print(f"{'stage':6}{'the vendor':28}{'first sound':>12}{'longest':>9}{'asked':>7}  heard")
    for (stage, fault), (heard, requests) in zip(pairs, found, strict=True):
        silences = heard.silences() or [99.0]
        bad += max(silences) > MOST_SECS
        print(
            f"{stage:6}{fault:28}{silences[0]:10.2f} s{max(silences):7.2f} s{requests:7}  {heard.story()}"
            f"{'' if max(silences) <= MOST_SECS else '  OUT OF BOUNDS'}"
        )
    return bad


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="a stage, or a part of a fault's name")
    parser.add_argument("--at-once", type=int, default=4)
    raise SystemExit(min(1, asyncio.run(run(parser.parse_args()))))


if __name__ == "__main__":
    main()
