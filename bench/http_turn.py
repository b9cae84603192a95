"""CPU of one turn's provider traffic: our adapters against a bare Agent doing the same, over loopback.

    python -m bench.http_turn [--turns 200] [--parallel 10]

A turn is 2.8 s of 8 kHz speech up (45 KB), one streamed reply of 19 tokens, two sentences of 24 kHz speech
down (245 KB). The vendor runs in a process of its own and answers at once, token by token. Only this
process's CPU is counted, after a warm-up; each client has a fresh process. `bare` is twisted.web.client.Agent
with a pool, no deadlines, no retries, no parsing but JSON: what cannot be saved. `treq` is treq in its place.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

TOKENS = [f" word{i}" for i in range(18)] + ["."]
SPEECH = bytes(range(1, 251)) * 490  # 122,500 bytes: 2.55 s at 24 kHz, one of two sentences
CHUNK = 9_600
UPLOAD_SECS = 2.8
Turn = Callable[[], Coroutine[Any, Any, int]]


def sse() -> list[bytes]:
    """A reply's events, each its own chunk, in OpenAI's shape."""
    events = []
    for i, token in enumerate(["", *TOKENS, None]):
        delta = {} if token is None else {"content": token}
        choice = {
            "index": 0,
            "delta": delta,
            "logprobs": None,
            "finish_reason": "stop" if token is None else None,
        }
        event = {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": i,
            "model": "m",
            "choices": [choice],
        }
        events.append(b"data: " + json.dumps(event).encode() + b"\n\n")
    return [*events, b"data: [DONE]\n\n"]


def serve() -> None:
    """The vendor: prints its port, answers until its standard input closes."""
    from twisted.internet import protocol, reactor, stdio
    from twisted.web import resource, server

    class Transcriptions(resource.Resource):
        def render_POST(self, request: server.Request) -> bytes:
            request.setHeader(b"content-type", b"application/json")
            return b'{"text": "what time do you open"}'

    class Pieces(resource.Resource):
        def __init__(self, kind: bytes, pieces: list[bytes], gap_secs: float) -> None:
            super().__init__()
            self.kind, self.pieces, self.gap_secs = kind, pieces, gap_secs

        def render_POST(self, request: server.Request) -> int:
            request.setHeader(b"content-type", self.kind)
            self.send(request, 0)
            return server.NOT_DONE_YET

        def send(self, request: server.Request, at: int) -> None:
            if at == len(self.pieces):
                request.finish()
            else:
                request.write(self.pieces[at])
                reactor.callLater(self.gap_secs, self.send, request, at + 1)

    class UntilClosed(protocol.Protocol):
        def connectionLost(self, reason: object = None) -> None:
            reactor.stop()

    root = v1 = resource.Resource()
    audio, chat = resource.Resource(), resource.Resource()
    speech = [SPEECH[i : i + CHUNK] for i in range(0, len(SPEECH), CHUNK)]
    v1.putChild(b"audio", audio)
    v1.putChild(b"chat", chat)
    audio.putChild(b"transcriptions", Transcriptions())
    audio.putChild(b"speech", Pieces(b"audio/pcm", speech, 0.001))
    chat.putChild(b"completions", Pieces(b"text/event-stream", sse(), 0.001))
    port = reactor.listenTCP(0, server.Site(root), interface="127.0.0.1")
    print(port.getHost().port, flush=True)
    stdio.StandardIO(UntilClosed())
    reactor.run()


def our_turn(reactor: Any, base: str) -> Turn:
    from contextlib import aclosing

    from voxray.frames import ULAW_8K, CallInfo, Message, TextDelta, Utterance
    from voxray.http import HttpClient
    from voxray.providers.llm_openai import OpenAIChat
    from voxray.providers.openai_api import Host
    from voxray.providers.stt_openai import OpenAITranscriber
    from voxray.providers.tts_openai import OpenAISpeech

    http, host = HttpClient(reactor), Host("openai", base, "sk-bench")
    stt, llm, tts = OpenAITranscriber(http, host), OpenAIChat(http, host), OpenAISpeech(http, host)
    payload = bytes(range(256)) * int(UPLOAD_SECS * 8000 / 256 - 12)  # with the silence added: 45 KB
    heard = Utterance(payload, ULAW_8K, 0.0, UPLOAD_SECS * 1000)
    call = CallInfo("bench")

    async def turn() -> int:
        said = await stt.transcribe(heard, call)
        reply = ""
        async with aclosing(llm.reply([Message("user", said.text)], call)) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    reply += event.text
        assert reply == "".join(TOKENS)
        size = 0
        for sentence in (reply[:60], reply[60:]):
            async with aclosing(tts.synthesize(sentence, call)) as speech:
                async for piece in speech:
                    size += len(piece.payload)
        return size

    return turn


def _bodies() -> tuple[bytes, bytes, bytes, bytes]:
    """Upload, its boundary, question, sentence: made once, so a lower bound really is one."""
    boundary = b"bench"
    head = b'--%b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' % boundary
    upload = head + bytes(int(UPLOAD_SECS * 16_000)) + b"\r\n--%b--\r\n" % boundary
    question = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]})
    sentence = json.dumps({"model": "m", "voice": "v", "input": "x" * 60, "response_format": "pcm"})
    return upload, boundary, question.encode(), sentence.encode()


def _read_events(data: bytes, rest: bytes) -> tuple[str, bytes]:
    *lines, rest = (rest + data).split(b"\n")
    text = ""
    for line in lines:
        if line.startswith(b"data: {"):
            for choice in json.loads(line[6:])["choices"]:
                text += choice["delta"].get("content") or ""
    return text, rest


def bare_turn(reactor: Any, base: str, treq_instead: bool = False) -> Turn:
    import io

    from twisted.internet import defer, protocol
    from twisted.web.client import Agent, FileBodyProducer, HTTPConnectionPool
    from twisted.web.http_headers import Headers

    pool = HTTPConnectionPool(reactor)
    pool.maxPersistentPerHost = 1000
    agent = Agent(reactor, pool=pool)
    upload, boundary, question, sentence = _bodies()

    class Sink(protocol.Protocol):
        def __init__(self, take: Callable[[bytes], object], done: defer.Deferred[None]) -> None:
            self.dataReceived = take  # type: ignore[method-assign]
            self.done = done

        def connectionLost(self, reason: object = None) -> None:
            self.done.callback(None)

    async def post(path: str, body: bytes, kind: str, take: Callable[[bytes], object]) -> None:
        if treq_instead:
            import treq

            response = await treq.post(
                base + path,
                body,
                headers={"Content-Type": kind},
                agent=agent,
                unbuffered=True,
                reactor=reactor,
            )
            await treq.collect(response, take)
            return
        headers = Headers({"Content-Type": [kind]})
        producer = FileBodyProducer(io.BytesIO(body))
        response = await agent.request(b"POST", (base + path).encode(), headers, producer)
        done: defer.Deferred[None] = defer.Deferred()
        response.deliverBody(Sink(take, done))
        await done

    async def turn() -> int:
        heard: list[bytes] = []
        await post(
            "/audio/transcriptions",
            upload,
            "multipart/form-data; boundary=" + boundary.decode(),
            heard.append,
        )
        assert json.loads(b"".join(heard))["text"]
        reply, rest = "", b""

        def take(data: bytes) -> None:
            nonlocal reply, rest
            text, rest = _read_events(data, rest)
            reply += text

        await post("/chat/completions", question, "application/json", take)
        assert reply == "".join(TOKENS)
        sizes: list[int] = []
        for _ in range(2):
            await post("/audio/speech", sentence, "application/json", lambda d: sizes.append(len(d)))
        return sum(sizes)

    return turn


def measure(client: str, base: str, turns: int, parallel: int) -> None:
    """Runs in a process of its own; prints milliseconds of CPU a turn."""
    from twisted.internet import defer, task

    async def main(reactor: Any) -> None:
        turn = our_turn(reactor, base) if client == "voxray" else bare_turn(reactor, base, client == "treq")

        async def checked() -> None:
            size = await turn()
            assert size == 2 * len(SPEECH), size

        async def run(count: int) -> None:
            gate = defer.DeferredSemaphore(parallel)
            await defer.gatherResults(
                [gate.run(lambda: defer.ensureDeferred(checked())) for _ in range(count)]
            )

        await run(4 * parallel)
        begun = time.process_time()
        await run(turns)
        sys.stdout.write(str(1000 * (time.process_time() - begun) / turns))

    task.react(lambda reactor: defer.ensureDeferred(main(reactor)))


def compare(turns: int, parallel: int, rounds: int) -> None:
    """Clients take turns, so that a busy machine is busy for all; the least of the rounds counts."""
    me = [sys.executable, "-m", "bench.http_turn"]
    with subprocess.Popen(
        [*me, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as vendor:
        assert vendor.stdout is not None and vendor.stdin is not None
        base = f"http://127.0.0.1:{int(vendor.stdout.readline())}"
        best: dict[str, float] = {}
        for _ in range(rounds):
            for client in ("bare", "treq", "voxray"):
                options = [
                    "--client",
                    client,
                    "--base",
                    base,
                    "--turns",
                    str(turns),
                    "--parallel",
                    str(parallel),
                ]
                out = subprocess.run([*me, *options], capture_output=True, text=True, check=True)
                best[client] = min(best.get(client, 1e9), float(out.stdout))
        for client, ms in best.items():
            print(f"{client:8s} {ms:6.2f} ms CPU per turn, {ms / best['bare']:.2f} of bare")
        vendor.stdin.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, default=200)
    parser.add_argument("--parallel", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--client", choices=("bare", "treq", "voxray"), help=argparse.SUPPRESS)
    parser.add_argument("--base", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
    elif options.client:
        measure(options.client, options.base, options.turns, options.parallel)
    else:
        compare(options.turns, options.parallel, options.rounds)


if __name__ == "__main__":
    main()
