"""A server that has processes of its own: all of them end with it."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

from labkit.backends.process import TIED, ServerProcess

END_SELF, END_GROUP = "os._exit(0)", "os.killpg(0, 9)"


class ServerGroup(ServerProcess):
    """As ``ServerProcess``, for a server that starts others. It leads a process group of its own, which is ended as a whole."""

    def start(self, timeout_s: float = 60.0) -> None:
        """Start it and wait until it answers."""
        if hasattr(os, "killpg"):
            self._command[2] = TIED.replace(END_SELF, END_GROUP)
        super().start(timeout_s)

    def stop(self, timeout_s: float = 15.0) -> None:
        """End it, and what it left behind. Doing it twice does nothing more."""
        leader = self.pid
        super().stop(timeout_s)
        if leader is not None and hasattr(os, "killpg"):
            with suppress(ProcessLookupError):
                os.killpg(leader, signal.SIGKILL)
