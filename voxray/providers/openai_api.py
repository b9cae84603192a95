"""What the three adapters of the OpenAI dialect share: where the host is and how to ask it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import orjson

from voxray.circuits import Circuit
from voxray.errors import ErrorKind, ProviderError
from voxray.http import HttpClient, HttpRequest
from voxray.httpstream import Deadlines
from voxray.providers.openai_errors import explain
from voxray.retries import NEVER


@dataclass(frozen=True, slots=True)
class Host:
    """A host that speaks the dialect. Without a key (a server of one's own) none is sent."""

    name: str
    base_url: str
    api_key: str = field(default="", repr=False)

    def post(self, path: str, body: bytes, content_type: str, circuit: Circuit | None = None) -> HttpRequest:
        headers = {**self._authorization(), "Content-Type": content_type}
        url = self.base_url.rstrip("/") + path
        return HttpRequest("POST", url, self.name, headers, body, explain=explain, circuit=circuit)

    def circuit(self, http: HttpClient, stage: str, model: str, path: str) -> Circuit:
        """That of one stage's requests."""
        return http.circuits.of(self.name, stage, model, self.base_url.rstrip("/") + path, self.api_key)

    async def warm_up(self, http: HttpClient) -> None:
        """Opens a connection, so that the first turn does not pay for DNS, TCP and TLS. Never raises."""
        url = self.base_url.rstrip("/") + "/models"
        await http.warm_up(url, provider=self.name, headers=self._authorization())

    async def models(self, http: HttpClient, deadlines: Deadlines) -> frozenset[str]:
        """The names of all it has; also tells whether the key is good. Raises ProviderError."""
        url = self.base_url.rstrip("/") + "/models"
        asked = HttpRequest("GET", url, self.name, self._authorization(), deadlines=deadlines)
        answer = await http.request(replace(asked, retries=NEVER, explain=explain))
        try:
            listed = orjson.loads(answer.body)["data"]
            return frozenset(str(each["id"]) for each in listed)
        except (orjson.JSONDecodeError, KeyError, TypeError):
            raise self.bad_answer("no list of models: is base_urls right?") from None

    def bad_answer(self, detail: str) -> ProviderError:
        return ProviderError(self.name, ErrorKind.BAD_ANSWER, detail)

    def _authorization(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}


def media_type(headers: Mapping[str, str]) -> str:
    """The answer's type, without parameters, in lower case."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def media_rate(headers: Mapping[str, str]) -> str:
    """The parameter `rate` of the answer's type, "" when it has none."""
    parameters = (each.partition("=") for each in headers.get("content-type", "").split(";")[1:])
    return next((value.strip() for name, _, value in parameters if name.strip().lower() == "rate"), "")
