"""What the OpenAI dialect's readers make of vendors' answers, and what we ask for."""

from __future__ import annotations

import json
from email.parser import BytesParser

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from tests.provider_contract import CALL
from tests.vendor import FIXTURES
from voxray.audio.wav import wav_header
from voxray.errors import RETRYABLE, ErrorKind
from voxray.frames import Encoding, MediaFormat, Message
from voxray.providers.chat_delta import ReplyReader
from voxray.providers.llm_openai import DIALECTS, Dialect, reasoning_effort, request_body
from voxray.providers.openai_errors import explain, explain_event
from voxray.providers.stt_openai import believed, form_data, is_invented
from voxray.providers.tools import offered
from voxray.providers.tts_openai import AudioReader, parts_of

QUOTED = "my card number is four one one one"


def sse(*chunks: object, end: str = "data: [DONE]\n\n") -> bytes:
    return ("".join(f"data: {json.dumps(c)}\n\n" for c in chunks) + end).encode()


def delta(finish: str | None = None, **what: object) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": what, "finish_reason": finish}]}


def read(body: bytes, size: int = 1 << 20, whole: bool = False) -> tuple[str, ReplyReader]:
    reader = ReplyReader(1000, whole=whole)
    said = "".join(reader.feed(body[i : i + size]) for i in range(0, len(body), size))
    return said + reader.finish(), reader


class ReplyReaderTests(SynchronousTestCase):
    def test_fixtures(self) -> None:
        """The vendors' recorded shapes, whole and in pieces of any size."""
        for name, text, reason in (
            ("openai_chat_text.sse", "Hello, how can I help?", "stop"),
            ("groq_chat.sse", "Hi.", "stop"),
            ("openai_chat_tools.sse", "", "tool_calls"),
            ("openai_compat_quirks.sse", "", "tool_calls"),
            ("cerebras_error_midstream.sse", "One", ""),
        ):
            body = (FIXTURES / name).read_bytes()
            for size in (1, 7, 1000, len(body)):
                said, reader = read(body, size)
                self.assertEqual((said, reader.reason), (text, reason), name)
                self.assertTrue(reader.finished, name)
                self.assertNotIn("end_call", [call.name for call in reader.calls], name)

    def test_error_midstream(self) -> None:
        """What was said before the error stays; the error has its kind."""
        _, reader = read((FIXTURES / "cerebras_error_midstream.sse").read_bytes())
        assert reader.failure is not None
        self.assertEqual(reader.failure[0], ErrorKind.OVERLOADED)

    def test_reasoning_is_not_said(self) -> None:
        """Thinking is for the model alone."""
        body = sse(delta(reasoning_content="hm"), delta(reasoning="hm"), delta(content="Yes."))
        self.assertEqual(read(body)[0], "Yes.")

    def test_odd_contents(self) -> None:
        """No choices, null, "", parts, and things of other types are no trouble."""
        body = sse(
            {"choices": []},
            {"choices": None},
            {"choices": [5]},
            {},
            [],
            7,
            delta(content=None),
            delta(content=""),
            delta(content=[{"type": "text", "text": "A"}, {"type": "image"}, "x", {"text": 3}]),
            {"choices": [{"delta": None}]},
            {"choices": [{"delta": "x", "finish_reason": ""}]},
            delta(content={"a": 1}, tool_calls="x"),
            delta(content="B", tool_calls=[1, {}, {"function": 5}, {"function": {"name": 5}}]),
        )
        said, reader = read(body)
        self.assertEqual((said, reader.skipped), ("AB", 2))

    @shows("F6")
    def test_not_json(self) -> None:
        """An event that is not JSON is skipped; the rest is said."""
        said, reader = read(b"data: {oops\n\n" + sse(delta(content="Yes.")))
        self.assertEqual((said, reader.skipped), ("Yes.", 1))

    def test_missing_done(self) -> None:
        """A finish reason ends the reply, so a host that forgets [DONE] does not keep us waiting."""
        reader = ReplyReader(1000)
        self.assertEqual(reader.feed(sse(delta("stop", content="Bye."), end="")), "Bye.")
        self.assertTrue(reader.finished)

    def test_end_call(self) -> None:
        """The function call in all the forms hosts give it."""
        call = {"id": "a", "type": "function", "function": {"name": "end_call", "arguments": ""}}
        for calls in (
            [[{"index": 0, **call}], [{"index": 0, "function": {"arguments": "{}"}}]],
            [[call]],
            [[{**call, "id": None}]],
            [[{**call, "function": {"name": "end_call", "arguments": {"reason": "x"}}}]],
            [[{"index": 0, "function": {"name": "end_call"}}], [{"index": 0, "function": {"name": ""}}]],
            [[{"index": 0, "id": "b", "function": {"name": "lookup"}}, {"index": 1, **call}]],
            [[{"id": "b", "function": {"name": "lookup"}}], [call]],
        ):
            for finish in ("tool_calls", "stop"):
                body = sse(*(delta(tool_calls=c) for c in calls), delta(finish))
                names = [each.name for each in read(body)[1].calls]
                self.assertEqual(names, ["lookup", "end_call"] if "lookup" in str(calls) else ["end_call"])

    def test_whole(self) -> None:
        """A host that does not stream is read all the same; so is an error with status 200."""
        body = json.dumps({"choices": [{"message": {"content": "Yes."}, "finish_reason": "stop"}]}).encode()
        said, reader = read(body, 5, whole=True)
        self.assertEqual((said, reader.reason), ("Yes.", "stop"))
        _, reader = read(b'{"error": {"message": "x", "code": "rate_limit_exceeded"}}', whole=True)
        assert reader.failure is not None
        self.assertEqual(reader.failure[0], ErrorKind.RATE)
        _, reader = read(b"x" * 2_000_000, 4096, whole=True)
        assert reader.failure is not None
        self.assertEqual(reader.failure[0], ErrorKind.BAD_ANSWER)

    @shows("F16")
    def test_endless_reply(self) -> None:
        """A reply is cut at its limit."""
        said, reader = read(sse(*[delta(content="x" * 90)] * 20))
        self.assertEqual((len(said), reader.finished, reader.reason), (1000, True, "too long"))

    @shows("F6")
    @settings(max_examples=300, deadline=None)
    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        [
                            "choices",
                            "delta",
                            "content",
                            "tool_calls",
                            "function",
                            "error",
                            "finish_reason",
                            "index",
                            "id",
                            "name",
                            "message",
                            "code",
                            "type",
                        ]
                    ),
                    inner,
                    max_size=4,
                )
            ),
            max_leaves=20,
        )
    )
    def test_any_json(self, value: object) -> None:
        """No JSON at all makes the reader raise."""
        read(sse(value))
        read(json.dumps(value).encode(), whole=True)


class ErrorTests(SynchronousTestCase):
    def test_fixtures(self) -> None:
        """Retry or not, as the vendors' documentation has it."""
        for name in ("openai_errors.json", "compat_errors.json"):
            for case in json.loads((FIXTURES / name).read_text())["cases"]:
                body = case.get("body_text", "").encode() or json.dumps(case["body"]).encode()
                kind, words = explain(case["status"], body)
                self.assertEqual(kind in RETRYABLE, case["retry"], case)
                self.assertIn(str(case["status"]), words)

    def test_kinds(self) -> None:
        """Out of credit is not "too many requests"."""
        quota = b'{"error": {"type": "insufficient_quota", "message": "no"}}'
        self.assertEqual(explain(429, quota)[0], ErrorKind.QUOTA)
        self.assertEqual(explain(429, b"")[0], ErrorKind.RATE)
        self.assertEqual(explain(401, b"[]")[0], ErrorKind.AUTH)
        self.assertEqual(explain(498, b"null")[0], ErrorKind.OVERLOADED)
        self.assertEqual(explain_event({"error": {"code": "x"}}), (ErrorKind.BAD_ANSWER, "x"))
        busy = {"error": {"type": "server_error", "message": "Busy."}}
        self.assertEqual(explain_event(busy), (ErrorKind.OVERLOADED, "server_error, Busy."))
        self.assertIsNone(explain_event({"choices": [], "error": None}))

    def test_useful_words(self) -> None:
        """What helps an owner is kept."""
        missing = b'{"error": {"message": "The model `nope` does not exist.", "code": "model_not_found"}}'
        self.assertIn("`nope`", explain(404, missing)[1])
        param = b'{"error": {"message": "Unsupported parameter: \'max_tokens\'", "param": "max_tokens"}}'
        self.assertIn("Unsupported", explain(400, param)[1])

    @shows("T10", "T11")
    def test_nothing_of_ours(self) -> None:
        """Neither what a caller said nor a key comes out, however the vendor repeats it."""
        for status, error in (
            (400, {"message": f"bad: {QUOTED}", "param": "messages[3].content"}),
            (400, {"message": f"bad: {QUOTED}", "param": None}),
            (400, {"message": f"bad: {QUOTED}"}),
            (422, {"message": f"bad: {QUOTED}", "param": "input"}),
            (401, {"message": "Incorrect API key provided: zz-SECRETKEY", "code": "invalid_api_key"}),
            (429, {"message": "limit for sk-proj-SECRETKEY reached, Bearer SECRETKEY"}),
            (500, {"message": "key gsk_SECRETKEY"}),
        ):
            words = explain(status, json.dumps({"error": error}).encode())[1]
            self.assertNotIn("SECRET", words)
            self.assertNotIn("card", words)
        event = explain_event({"error": {"message": QUOTED, "param": "messages"}})
        assert event is not None
        self.assertNotIn("card", event[1])

    @shows("T12")
    def test_one_clean_line(self) -> None:
        """Control characters go, length is bounded."""
        words = explain(500, json.dumps({"error": {"message": "a\n\x1b[2J\u2028b" + "x" * 10_000}}).encode())[
            1
        ]
        self.assertTrue(words.isprintable(), words)
        self.assertLess(len(words), 230)


class RequestTests(SynchronousTestCase):
    MESSAGES = (Message("system", "Be kind."), Message("user", "Hi"))

    def body(self, model: str, dialect: Dialect, tool: bool = True) -> dict[str, object]:
        tools = [*offered(CALL, [], end_call=tool).values()]
        raw = request_body(model, self.MESSAGES, dialect, tools=tools, max_tokens=9)
        body: dict[str, object] = json.loads(raw)
        return body

    def test_body(self) -> None:
        """The fields OpenAI wants of a model that does not reason."""
        body = self.body("gpt-4.1-mini", DIALECTS["openai"])
        self.assertEqual(
            body["messages"], [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
        )
        self.assertEqual((body["stream"], body["max_completion_tokens"]), (True, 9))
        self.assertEqual(body["tools"][0]["function"]["name"], "end_call")  # type: ignore[index]
        for absent in ("max_tokens", "reasoning_effort", "temperature"):
            self.assertNotIn(absent, body)
        self.assertNotIn("tools", self.body("gpt-4.1-mini", DIALECTS["openai"], tool=False))
        self.assertEqual(self.body("llama", Dialect())["max_tokens"], 9)

    def test_reasoning_effort(self) -> None:
        """Models that think are told not to; others are not told anything."""
        for model, effort in (
            ("gpt-4.1-mini", ""), ("gpt-3.5-turbo", ""), ("gpt-4o", ""), ("llama-3.1-8b-instant", ""),
            ("gpt-5", "minimal"), ("gpt-5-mini", "minimal"), ("gpt-5-chat-latest", ""), ("gpt-5.1", "none"),
            ("gpt-6-mini", "none"), ("o3-mini", "low"), ("openai/gpt-oss-120b", "low"),
            ("qwen/qwen3-32b", "none"), ("olmo", ""), ("", ""),
        ):  # fmt: skip
            self.assertEqual(reasoning_effort(model), effort, model)


class SpeechTests(SynchronousTestCase):
    PCM = np.arange(-3000, 3000, dtype="<i2").tobytes()

    def read(self, body: bytes, size: int, kind: str = "") -> tuple[bytes, MediaFormat]:
        reader = AudioReader(kind)
        out = b""
        for i in range(0, len(body), size):
            piece = reader.feed(body[i : i + size])
            self.assertEqual(len(piece) % 2, 0)
            out += piece
        return out + reader.finish(), reader.media_format

    @shows("F13")
    @settings(max_examples=200, deadline=None)
    @given(st.integers(1, 5000), st.booleans())
    def test_any_cut(self, size: int, odd: bool) -> None:
        """PCM comes out as whole samples however it was cut; half a sample at the end is dropped."""
        body = self.PCM + (b"x" if odd else b"")
        self.assertEqual(self.read(body, size), (self.PCM, MediaFormat(Encoding.L16, 24_000)))

    @shows("F13")
    @settings(max_examples=100, deadline=None)
    @given(
        st.integers(1, 5000), st.sampled_from([0, 0xFFFFFFFF, len(PCM)]), st.sampled_from([24_000, 48_000])
    )
    def test_wav(self, size: int, length: int, rate_hz: int) -> None:
        """A WAV, asked for or not, is read by its header."""
        body = wav_header(rate_hz, 1, length) + self.PCM
        self.assertEqual(self.read(body, size), (self.PCM, MediaFormat(Encoding.L16, rate_hz)))

    @shows("F13")
    def test_never_noise(self) -> None:
        """Compressed audio, unknown rates and stereo are refused rather than played."""
        for body, kind in (
            (b"ID3\x04" + self.PCM, ""),
            (b"OggS" + self.PCM, ""),
            (b"\xff\xfb\x90\x00" + self.PCM, "audio/mpeg"),
            (wav_header(12_345, 1, 0) + self.PCM, ""),
            (wav_header(24_000, 2, 0) + self.PCM, ""),
        ):
            self.assertRaises(ValueError, self.read, body, 4096, kind)

    def test_parts(self) -> None:
        """Long text is cut where a speaker would breathe, and nothing is lost."""
        self.assertEqual(parts_of("  ", 10), [])
        self.assertEqual(parts_of("Short.", 10), ["Short."])
        self.assertEqual(parts_of("One two. Three four five.", 20), ["One two.", "Three four five."])
        self.assertEqual(parts_of("one two, three four five", 20), ["one two,", "three four five"])
        self.assertEqual(parts_of("x" * 25, 10), ["x" * 10, "x" * 10, "x" * 5])

    @settings(max_examples=300, deadline=None)
    @given(st.text(alphabet="ab .,?!", max_size=200), st.integers(1, 50))
    def test_parts_hold_everything(self, text: str, limit: int) -> None:
        """Every part fits, and together they are the text but for spaces at the cuts."""
        parts = parts_of(text, limit)
        self.assertTrue(all(0 < len(part) <= limit for part in parts))
        self.assertEqual("".join(parts).replace(" ", ""), text.replace(" ", ""))


class TranscriptTests(SynchronousTestCase):
    def test_silent_segments(self) -> None:
        """Segments Whisper itself takes for silence are left out; without any, the text is taken."""
        answers = json.loads((FIXTURES / "openai_transcribe.json").read_text())
        self.assertEqual(believed(answers["verbose_json_whisper1"]), "Hello there.")
        sure = {"text": " Hello.", "no_speech_prob": 0.01, "avg_logprob": -0.2}
        silent = {"text": " Thank you.", "no_speech_prob": 0.9, "avg_logprob": -1.4}
        self.assertEqual(believed({"text": "x", "segments": [sure, silent, 5]}), " Hello.")
        self.assertEqual(believed({"text": "x", "segments": [silent]}), "")
        for odd in ([], None, "x", [{}], [{"no_speech_prob": "1", "avg_logprob": None}]):
            self.assertEqual(believed({"text": "x", "segments": odd}), "x")

    def test_inventions(self) -> None:
        """Only what cannot have been said in the time is not believed."""
        self.assertTrue(is_invented("Thanks for watching!", 800))
        self.assertFalse(is_invented("Thanks for watching!", 1500))
        self.assertTrue(is_invented("Thank you.", 200))
        self.assertFalse(is_invented("Thank you.", 600))
        self.assertFalse(is_invented("Yes.", 200))

    def test_form(self) -> None:
        """The upload is a form another parser reads back."""
        body = form_data(
            b"XYZ", [(b"model", b"w"), (b"language", b"en")], b"audio.wav", b"audio/wav", b"\0\r\n\xff"
        )
        whole = b"Content-Type: multipart/form-data; boundary=XYZ\r\n\r\n" + body
        parts = BytesParser().parsebytes(whole).get_payload()
        got = [(p.get_param("name", header="content-disposition"), p.get_payload(decode=True)) for p in parts]
        self.assertEqual(got, [("model", b"w"), ("language", b"en"), ("file", b"\0\r\n\xff")])
        self.assertEqual(parts[2].get_filename(), "audio.wav")
