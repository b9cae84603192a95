"""`voxray check`: the daemon's own word on a configuration, and what it comes to."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from tests.certificates import Authority, write_pair
from tests.cli import CommandCase
from tests.test_cli_plan import KEYS
from voxray.cli import given as given_module
from voxray.config import load
from voxray.config.keys import KEYS as TABLE
from voxray.config.names import KEY_ENV

LOOPBACK = socket.AF_INET


class CheckTests(CommandCase):
    def problem(self, *words: str) -> str:
        """The only finding, of a configuration that the daemon would not take."""
        status, out = self.command("check", *words)
        self.assertEqual(status, 1)
        first, last = out.splitlines()
        self.assertEqual(last, "1 problem")
        self.assertTrue(first.startswith("fail  config       "), first)
        return first[19:]

    def test_good(self) -> None:
        """What runs is shown, row by row, and the status is 0."""
        self.configured(
            {"proxy_host": "bot.example.com", "max_calls": 7},
            TWILIO_AUTH_TOKEN="secret-token",
            TWILIO_ACCOUNT_SID="AC123",
        )
        status, out = self.command("check", "--port", str(free_port()))
        self.assertEqual(status, 0)
        for row in (
            "carrier      twilio brings calls and carries the calls we place",
            'set there    the number\'s "A call comes in": Webhook, https://bot.example.com/, HTTP POST',
            "calls        at most 7 at once",
            "trust        twilio: telephony_auth auto: webhooks are signed, sockets bring the token of the "
            "answer",
            "heard        twilio mulaw 8000 Hz -> decoded -> energy at 8000 Hz",
            "stt          local moonshine-tiny-en, on this machine",
            "key          twilio_auth_token: from TWILIO_AUTH_TOKEN",
        ):
            self.assertIn(f"{row}\n", out)
        self.assertTrue(out.endswith("no problem\n"), out)

    def test_no_carrier(self) -> None:
        """Then nobody is answered, and there is no way of the audio to show."""
        self.configured({"runner_transport": ""})
        _, out = self.command("check")
        self.assertIn("calls        none: runner_transport is not set, and / is a status page\n", out)
        self.assertNotIn("heard", out)

    def test_every_carrier(self) -> None:
        """With all secrets `auto` shows four; with one, the three that could not be checked are left out."""
        self.configured({"runner_transport": "auto", "proxy_host": "a.b", "api_keys": KEYS})
        _, out = self.command("check")
        for carrier in ("twilio", "telnyx", "plivo", "exotel"):
            self.assertIn(f"carrier      {carrier} brings calls", out)
        self.configured(
            {"runner_transport": "auto", "proxy_host": "a.b", "api_keys": {"plivo_auth_token": "x" * 9}}
        )
        _, out = self.command("check")
        self.assertEqual(out.count("left out"), 3)

    def test_mistakes(self) -> None:
        """The daemon's words, the nearest key among them; nothing is shown that would not run."""
        self.configured({"proxy_host": "https://bot.example.com/"})
        self.assertIn('write "bot.example.com"', self.problem())
        self.configured({"stt_provider": "opnai"})
        self.assertIn("nearest: openai", self.problem())
        self.configured({"provider": "openai", "stt_provider": "", "llm_provider": "", "tts_provider": ""})
        self.assertIn("set OPENAI_API_KEY", self.problem())
        self.configured({"prot": 9})
        self.assertIn('did you mean "port"?', self.problem("--strict"))
        self.configured()
        self.assertIn("--port must be", self.problem("--port", "http"))
        self.path.unlink()
        self.assertIn(f"there is no configuration at {self.path}", self.problem())

    def test_as_the_daemon(self) -> None:
        """What the daemon would only find while it builds its parts is found too."""
        for document, text in (
            ({"scenario_file": str(self.scenario('{"business": 7}'))}, "business"),
            ({"api_keys": {"telnyx_public_key": "not-a-key"}}, "telnyx_public_key"),
        ):
            self.configured(document)
            status, out = self.command("check")
            self.assertEqual(status, 1)
            self.assertIn("fail  config", out)
            self.assertIn(text, out)

    def scenario(self, text: str) -> Path:
        path = self.directory / "scenario.json"
        path.write_text(text, encoding="utf-8")
        return path

    def test_warnings(self) -> None:
        """Are told, and are no problem."""
        self.configured({"prot": 9, "recording": {"enable": True}})
        status, out = self.command("check")
        self.assertEqual(status, 0)
        self.assertIn('warn  config       unknown key "prot": did you mean "port"?\n', out)
        self.assertIn("recording.enable: no effect yet", out)
        self.assertIn("warn  config       ANYBODY who finds the webhook", out)

    def test_hostile(self) -> None:
        """Files that are no configuration, and keys and values full of control characters."""
        for data in (
            b"",
            b"\xff\xfe\0",
            b"[" * 100_000,
            b'{"port": NaN}',
            b'{"port": ' + b"9" * 10_000 + b"}",
            b"{" + b'"a": {' * 2000,
            b'"text"',
            b"null",
            b"\0" * 100,
        ):
            self.path.write_bytes(data)
            self.problem()
        self.path.unlink()
        self.path.mkdir()
        self.assertIn("cannot read the configuration", self.problem())
        self.path.rmdir()
        nasty = "\x1b[2J\x07\u202e\r\nok    fine"
        self.configured({nasty: 1, "tts_voice": nasty, "model": nasty, "cdr_file": nasty.strip("\r\n")})
        _, out = self.command("check")
        self.assertTrue(all(c.isprintable() or c == "\n" for c in out))
        self.assertFalse([line for line in out.splitlines() if line.startswith("ok    fine")])

    def test_no_secret(self) -> None:
        """No secret is shown, by any command, in any form; neither one that was put into a wrong key."""
        secret = "hush-0123456789"
        document: dict[str, object] = {
            "api_keys": {name: f"{secret}{number}" for number, name in enumerate(KEY_ENV)},
            "telephony_auth": "off",
            "model": f"{secret}1",
            "base_urls": {"openai": f"http://user:{secret}@127.0.0.1:9/v1"},
        }
        for key in TABLE.values():
            if key.secret and "." not in key.name:
                document[key.name] = [secret] if key.name == "server_api_key" else f"redis://:{secret}@h"
        document["transcripts"] = {"dsn": secret}
        document["api_keys"].pop("telnyx_public_key")  # type: ignore[attr-defined]
        self.configured(document)
        for name in ("check", "print-config"):
            for words in ((), ("--json",)):
                status, out, err = self.typed(name, "--config", str(self.path), *words)
                self.assertEqual(status, 0, out)
                self.assertNotIn(secret, out + err)

    def test_json(self) -> None:
        """One object: whether it is good, what was found, what runs."""
        self.configured()
        status, document = self.document("check")
        self.assertEqual((status, document["ok"]), (0, True))
        self.assertIn({"name": "tts", "text": "local rms, on this machine"}, document["plan"])
        self.assertEqual({each["verdict"] for each in document["findings"]}, {"ok", "warn"})
        self.configured({"port": "x"})
        status, document = self.document("check")
        self.assertEqual((status, document["ok"], document["plan"]), (1, False, []))
        self.assertIn("port must be", document["findings"][0]["text"])

    def test_colours(self) -> None:
        """On a terminal the verdicts have some; elsewhere there is not one escape."""
        self.configured()
        os.environ["TERM"] = "xterm"
        self.assertIn(
            "\x1b[33mwarn\x1b[0m", self.typed("check", "--config", str(self.path), terminal=True)[1]
        )
        self.assertNotIn("\x1b", self.command("check")[1])

    def test_overrides(self) -> None:
        """The daemon's own options and variables count as they do for the daemon."""
        self.configured()
        os.environ["VOXRAY_CONFIG"] = str(self.path)
        _, out, _ = self.typed("check", "--transport", "plivo", "--proxy", "bot.example.com")
        self.assertIn("Primary Answer URL: https://bot.example.com/", out)


class PortTests(CommandCase):
    def finding(self, port: int) -> Any:
        self.configured({"port": port})
        return next(each for each in self.document("check")[1]["findings"] if each["topic"] == "port")

    def test_free(self) -> None:
        """It can be opened, and is closed again."""
        port = free_port()
        for _ in range(2):
            self.assertEqual(self.finding(port)["verdict"], "ok")

    def test_in_use(self) -> None:
        """By something that answers: most likely the daemon itself, which is no problem."""
        with socket.socket(LOOPBACK) as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            found = self.finding(other.getsockname()[1])
        self.assertEqual(found["verdict"], "ok")
        self.assertIn("in use", found["text"])

    def test_not_here(self) -> None:
        """An address of another machine: the configuration may be meant for that one."""
        self.configured({"host": "192.0.2.1"})
        status, document = self.document("check")
        found = next(each for each in document["findings"] if each["topic"] == "port")
        self.assertEqual((status, found["verdict"]), (0, "warn"))


class TlsTests(CommandCase):
    def check(self, **pair: Any) -> tuple[int, list[str]]:
        """Status, and what is said of the certificate."""
        certificate, key = write_pair(self.directory, **pair)
        self.configured({"tls_enable": True, "tls_cert_file": certificate, "tls_key_file": key})
        status, document = self.document("check")
        return status, [each["text"] for each in document["findings"] if each["topic"] == "certificate"]

    def test_good(self) -> None:
        """Nothing is said."""
        self.assertEqual(self.check(ends=90, authority=Authority()), (0, []))

    def test_expiring(self) -> None:
        """Soon, or past: it would be served, and is warned of."""
        self.assertIn("expires on", self.check(ends=3)[1][0])
        self.assertIn("expired on", self.check(begins=-9, ends=-2)[1][0])

    def test_unusable(self) -> None:
        """As the daemon: a file that is not there is a problem."""
        self.configured({"tls_enable": True, "tls_cert_file": "/nowhere.pem", "tls_key_file": "/nowhere.key"})
        status, out = self.command("check")
        self.assertEqual(status, 1)
        self.assertIn("tls_cert_file: cannot read", out)


class ServiceTests(CommandCase):
    """The variables and credentials of the service, which a shell does not have."""

    def test_env_file(self) -> None:
        """As systemd reads it: comments, quotes, continued lines; it wins over the shell's."""
        file = self.directory / "variables"
        file.write_text(
            "# comment\n; another\nTWILIO_AUTH_TOKEN='quoted-secret'\n"
            'VOXRAY_PROXY_HOST = "bot.example.com"\n'
            "VOXRAY_GREETING=Hello \\\nthere\nnonsense\n=x\n",
            encoding="utf-8",
        )
        self.configured({}, VOXRAY_PROXY_HOST="other.example.com")
        found = given_module.given(self.options("--env-file", str(file)), os.environ)
        self.assertEqual(found.settings.server.proxy_host, "bot.example.com")
        self.assertEqual(found.settings.providers.api_keys["twilio_auth_token"], "quoted-secret")
        self.assertEqual(found.settings.agent.greeting, "Hello there")

    def options(self, *words: str) -> Any:
        from voxray.cli.arguments import parser

        return parser().parse_args(["check", "--config", str(self.path), *words])

    def test_env_file_missing(self) -> None:
        """One that was named must be there."""
        self.configured()
        status, out = self.command("check", "--env-file", "/nowhere/variables")
        self.assertEqual(status, 1)
        self.assertIn("--env-file: cannot read '/nowhere/variables'", out)

    def test_of_the_package(self) -> None:
        """The service's own configuration is read with the service's variables, and no other is."""
        variables = self.directory / "default"
        variables.write_text("VOXRAY_MAX_CALLS=3\n", encoding="utf-8")
        self.patch(given_module, "SERVICE_VARIABLES", str(variables))
        self.configured()
        self.assertEqual(self.max_calls(), 200)
        self.patch(given_module, "DEFAULT_PATH", str(self.path))
        self.assertEqual(self.max_calls(), 3)
        variables.unlink()
        self.assertEqual(self.max_calls(), 200)
        variables.mkdir()
        self.assertIn("keys that are not seen here", self.command("check")[1])

    def max_calls(self) -> int:
        return given_module.given(self.options(), os.environ).settings.calls.max_calls

    def test_credentials(self) -> None:
        """The directory that systemd would pass is named where it is; a shell's own wins."""
        seen: list[str] = []

        def remembering(path: str, environ: dict[str, str], **more: Any) -> Any:
            seen.append(environ.get("CREDENTIALS_DIRECTORY", ""))
            return load(path, environ, **more)

        self.patch(given_module.config, "load", remembering)
        self.patch(given_module, "SERVICE_CREDENTIALS", str(self.directory))
        self.configured()
        self.max_calls()
        os.environ["CREDENTIALS_DIRECTORY"] = "/run/own"
        self.max_calls()
        self.assertEqual(seen, [str(self.directory), "/run/own"])


def free_port() -> int:
    with socket.socket(LOOPBACK) as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])
