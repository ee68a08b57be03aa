"""How many threads to compute with, so that a busy laptop does not slow the model to a crawl.

llama.cpp's threads wait for each other after every layer by spinning. When something else holds a core, the spinning
threads burn the time that the awaited one needs: 2 threads on 2 busy cores fell from 140 to 25 tokens/s on the
reference machine, while 1 thread kept 40 to 80. Two things help, both measured there on an otherwise idle machine:

- a short spin (``GOMP_SPINCOUNT=2000``): full speed when idle, about 45 tokens/s with two busy loops beside it
  (a spin of 0 gives 26 tokens/s when idle; the default of 300,000 gives 25 when busy);
- asking before each request how many cores are idle.
"""

from __future__ import annotations

import os
import time

import psutil

SPIN = "2000"
WINDOW_S = 0.1


def limit_spinning() -> None:
    """Shorten the OpenMP runtime's spin. Works only before llama.cpp is first imported; a user's own choice stands."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN)


def default_threads() -> int:
    """Physical cores that this process may use, less one for the browser and the desktop where there are four or more."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores = min(psutil.cpu_count(logical=False) or 1, allowed)
    return cores - 1 if cores >= 4 else max(1, cores)


class IdleCores:
    """Chooses the thread count of the next request.

    Args:
        threads: A fixed count, or 0 to choose by what other processes left idle since the last look.
    """

    def __init__(self, threads: int = 0) -> None:
        self.fixed = threads
        self.most = threads or default_threads()
        self._threads = self.most
        self._seen = self._read()

    def now(self) -> int:
        """Threads to use now, from 1 to ``most``."""
        if self.fixed:
            return self.fixed
        before, now = self._seen, self._read()
        elapsed = now[0] - before[0]
        if elapsed >= WINDOW_S:  # over a shorter time the counters, which tick 100 times a second, say little
            others = max(0.0, (now[1] - before[1]) - (now[2] - before[2])) / elapsed
            free = (os.cpu_count() or 1) - others
            self._threads = max(1, min(self.most, round(free)))
            self._seen = now
        return self._threads

    @staticmethod
    def _read() -> tuple[float, float, float]:
        """Wall clock, CPU seconds of the whole machine, CPU seconds of this process."""
        machine, own = psutil.cpu_times(), time.process_time()
        idle = machine.idle + getattr(machine, "iowait", 0.0)
        return time.monotonic(), sum(machine) - idle - getattr(machine, "guest", 0.0), own
