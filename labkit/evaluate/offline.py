"""A server that really goes away: its process is killed, or the way to it is cut, in the middle of a run."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress

import openai
import psutil

from labkit.backends.server import LlamaServerBackend
from labkit.messages import Health

NO_LINGER = struct.pack("ii", 1, 0)
"""A socket closed with this sends a reset: what was on its way is gone, as when a cable is pulled and a router says so."""


class Link:
    """A way to a server on this machine: what is sent to ``port`` comes out at the server, until ``cut``.

    Args:
        target: The server's port.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._lock, self._cut = threading.Lock(), False
        threading.Thread(target=self._accept, daemon=True, name="labkit-link").start()

    @property
    def up(self) -> bool:
        """Whether it carries anything."""
        return not self._cut

    def cut(self) -> None:
        """Refuse new connections, and break those that are open. Doing it twice does nothing more."""
        with self._lock:
            self._cut, ends = True, list(self._open)
            self._open.clear()
        with suppress(OSError):  # wakes the thread that accepts, on every system
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        self._listener.close()
        for end in ends:
            _reset(end)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:  # closed
                return
            with self._lock:
                far = None if self._cut else _reach(self.target)
                if far:
                    self._open |= {near, far}
            if far is None:
                _reset(near)
                if self._cut:
                    return
                continue
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with self._lock:
            mine = source in self._open  # not so where `cut` or the other direction was faster
            self._open -= {source, sink}
        for end in (source, sink) if mine else ():
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)  # the other direction's thread ends, too
            end.close()


class FarServer(LlamaServerBackend):
    """llama.cpp's server in a process of its own, as if it were on another machine: reached through a ``Link``, and never started again.

    Put it before another backend in a ``FailoverBackend``, and see what a run loses when it goes away. What this does not show is a network
    that swallows everything in silence: there only a time-out helps.
    """

    link: Link | None = None

    def load(self) -> None:
        """Start the server and the way to it, once."""
        if self.link is None:
            super().load()
            self.link = Link(int(self.url.rsplit(":", 1)[1].split("/")[0]))

    @property
    def client(self) -> openai.OpenAI:
        """The official client, which goes through the link. It asks once: another backend stands behind this one."""
        direct = super().client
        if self.link is None:
            return direct
        return direct.with_options(base_url=f"http://127.0.0.1:{self.link.port}/v1", max_retries=0)

    def kill(self) -> None:
        """End the server's process at once, without a word."""
        if self.process is not None and self.process.pid is not None:
            process = psutil.Process(self.process.pid)
            process.kill()
            process.wait(10)

    def cut(self) -> None:
        """Cut the way to the server. Its process goes on."""
        if self.link is not None:
            self.link.cut()

    def mend(self) -> None:
        """Lay a new way to the server, as when the network is back."""
        if self.link is not None:
            self.cut()
            self.link = Link(self.link.target)

    def health(self) -> Health:
        """Whether the process runs and the link is up."""
        if self.link is not None and not self.link.up:
            return Health(False, "the link is cut")
        return super().health()

    def close(self) -> None:
        """Stop the server and the link."""
        self.cut()
        super().close()


def _reach(port: int) -> socket.socket | None:
    with suppress(OSError):
        return socket.create_connection(("127.0.0.1", port))
    return None


def _reset(end: socket.socket) -> None:
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    with suppress(OSError):
        end.shutdown(socket.SHUT_RD)  # wakes a thread that waits for data
    end.close()
