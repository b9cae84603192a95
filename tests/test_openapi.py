"""The description of the HTTP side says what there is: every route, and nothing else."""

from __future__ import annotations

import json
import re

from twisted.trial.unittest import SynchronousTestCase

from tests.house import House
from voxray.web import openapi
from voxray.web.api import Api
from voxray.web.calls import Calls
from voxray.web.hooks import Hooks
from voxray.web.routes import ROUTES
from voxray.web.sessions import Sessions


def routes() -> set[tuple[str, str]]:
    """(path, method) of every Klein route, with the names of its parameters left out."""
    found = {("/telephony/ws", "GET"), ("/telephony/ws/{}", "GET")}  # Autobahn's
    for app in (Api.app, Hooks.app, Calls.app, Sessions.app):
        for rule in app.url_map.iter_rules():
            path = re.sub(r"<[^>]*>", "{}", rule.rule)
            found |= {(path, method) for method in (rule.methods or ()) if method != "HEAD"}
    return found


class DocumentTests(SynchronousTestCase):
    def test_complete(self) -> None:
        """Every route is described, and every description is a route."""
        described = {
            (re.sub(r"{[^}]*}", "{}", path), method.upper())
            for path, methods in openapi.document()["paths"].items()
            for method in methods
        }
        self.assertEqual(described, routes())

    def test_labelled(self) -> None:
        """What has a place in the metrics is described."""
        paths = openapi.document()["paths"]
        self.assertEqual([path for path in ROUTES if path not in paths], [])

    def test_served(self) -> None:
        """At both addresses, and for people without a script."""
        house = House(self)
        for path in ("/openapi.json", "/swagger/doc.json"):
            answer = house.ask("GET", path)
            self.assertEqual((answer.status, answer.headers["content-type"]), (200, "application/json"))
            self.assertEqual(json.loads(answer.body), openapi.document())
        for path in ("/swagger/", "/swagger/index.html"):
            answer = house.ask("GET", path)
            self.assertIn(b"<code>/api/v1/calls/{id}</code>", answer.body)
            self.assertNotIn(b"<script", answer.body)
            self.assertTrue(answer.headers["content-type"].startswith("text/html"))

    def test_references(self) -> None:
        """Whatever is referred to is there."""
        document = openapi.document()
        for reference in re.findall(r'"#/([^"]+)"', json.dumps(document)):
            found = document
            for part in reference.split("/"):
                found = found[part]
