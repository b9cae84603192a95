"""What `/` is without a carrier: a page that says the daemon runs, and no webhook.

Klein installs the reactor when imported, so only makeService imports this.
"""

from __future__ import annotations

from typing import Any

from klein import Klein

from voxray.web.api import problems


class Idle:
    """Klein routes on `/`."""

    app = Klein()

    def resource(self) -> Any:
        return self.app.resource()

    @app.route("/", methods=["GET"])
    def get(self, request: Any) -> bytes:
        """Bare, not in the envelope: so the contract has this one page."""
        request.setHeader(b"Content-Type", b"application/json")
        return b'{"status":"ok"}'


problems(Idle.app)
