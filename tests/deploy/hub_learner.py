"""A learner of a hub, as the tests need one: logs in, starts the server and runs code in a kernel, all through the proxy."""

from __future__ import annotations

import json
from typing import Any

import httpx
import websocket
from jupyter_client.session import Session


class Learner:
    """A learner's browser, and the kernel that it has opened.

    Args:
        hub: Address of the hub.
        name: The name to log in with.
    """

    def __init__(self, hub: str, name: str) -> None:
        self.name, self.url = name, f"{hub}/user/{name}"
        self.web = httpx.Client(base_url=hub, follow_redirects=True, timeout=90)

    def log_in(self, password: str) -> int:
        """Fill in the form. The status of the page that follows: 403 for a wrong name or password."""
        self.web.get("/hub/login")
        form = {"username": self.name, "password": password, "_xsrf": self._xsrf()}
        return self.web.post("/hub/login?next=/hub/token", data=form).status_code

    def start_server(self) -> None:
        """Ask for a token and for the server, and follow its progress until it is ready."""
        mine = f"/hub/api/users/{self.name}"
        page = {"X-XSRFToken": self._xsrf(), "Referer": self.url}
        made = self.web.post(f"{mine}/tokens", headers=page, json={"note": "test"}).raise_for_status()
        self.token = {"Authorization": f"token {made.json()['token']}"}
        self.web.post(f"{mine}/server", headers=self.token).raise_for_status()
        progress = self.web.get(f"{mine}/server/progress", headers=self.token).text
        assert '"ready": true' in progress, progress

    def api(self, method: str, path: str, **more: Any) -> Any:
        """A call of the learner's own Jupyter server."""
        answer = self.web.request(method, f"{self.url}/api/{path}", headers=self.token, **more)
        return answer.raise_for_status().json()

    def open(self, notebook: str) -> None:
        """Start the notebook's kernel, and connect to it."""
        asked = {"path": notebook, "name": notebook, "type": "notebook", "kernel": {"name": "python3"}}
        kernel = self.api("POST", "sessions", json=asked)["kernel"]["id"]
        self.socket = connect(f"{self.url}/api/kernels/{kernel}/channels", self.token)
        self.send("import json, os; from labkit import labs, models; from labkit.config import settings")
        self.receive()

    def send(self, code: str) -> None:
        """Ask the kernel to run code."""
        message = Session().msg("execute_request", {"code": code, "silent": False})
        self._asked = message["header"]["msg_id"]
        self.socket.send(json.dumps({**message, "channel": "shell"}, default=str))

    def receive(self) -> str:
        """What the code printed."""
        printed = ""
        while True:
            message = json.loads(self.socket.recv())
            if message["parent_header"].get("msg_id") != self._asked:
                continue
            content = message["content"]
            assert message["msg_type"] != "error", content
            if message["msg_type"] == "stream" and content["name"] == "stdout":
                printed += content["text"]
            if content.get("execution_state") == "idle":
                return printed

    def value(self, expression: str) -> Any:
        """The value of an expression in the learner's kernel."""
        self.send(f"print(json.dumps({expression}))")
        return json.loads(self.receive())

    def close(self) -> None:
        """Close the browser."""
        self.web.close()
        if hasattr(self, "socket"):
            self.socket.close()

    def _xsrf(self) -> str:
        cookies = self.web.cookies.jar
        return next(c.value or "" for c in cookies if (c.name, c.path) == ("_xsrf", "/hub/"))


def connect(address: str, token: dict[str, str]) -> websocket.WebSocket:
    """The websocket of a kernel.

    Raises:
        websocket.WebSocketBadStatusException: The server refuses.
    """
    return websocket.create_connection(address.replace("http", "ws", 1), header=token, timeout=90)
