"""Memory, processor time and energy while something runs."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from labkit.evaluate.record import Resources

POWERCAP = Path("/sys/class/powercap")
EVERY_S = 0.2


class Watch:
    """Samples this process and its children. Use it as a context manager, then read ``resources``.

    Args:
        powercap: Where Linux shows the processor's energy counters (Intel and AMD: RAPL).
    """

    def __init__(self, powercap: Path = POWERCAP) -> None:
        self._energy = Energy(powercap)
        self._me = psutil.Process()
        self._first: dict[int, float] = {}
        self._last: dict[int, float] = {}
        self._peak = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True, name="labkit-watch")

    def __enter__(self) -> Self:
        self._sample(first=True)
        self._energy.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._energy.stop()
        self._sample()

    @property
    def resources(self) -> Resources:
        """What was used between entering and leaving."""
        cpu = sum(max(0.0, self._last[pid] - self._first[pid]) for pid in self._last)
        return Resources(
            peak_rss_mb=self._peak / 1e6,
            cpu_s=cpu,
            energy_j=self._energy.joules,
            energy_note=self._energy.note,
        )

    def _work(self) -> None:
        while not self._over.wait(EVERY_S):
            self._sample()

    def _sample(self, *, first: bool = False) -> None:
        total = 0
        for process in [self._me, *self._me.children(recursive=True)]:
            try:
                with process.oneshot():
                    times, memory = process.cpu_times(), process.memory_info().rss
            except psutil.Error:  # it has ended
                continue
            used = times.user + times.system
            self._first.setdefault(process.pid, used if first else 0.0)  # a new child began at 0
            self._last[process.pid] = used
            total += memory
        self._peak = max(self._peak, total)


class Energy:
    """The processor's energy counters, read at the start and at the end.

    A counter runs from 0 to ``max_energy_range_uj`` and begins anew; one such turn is seen, a second one is not (at 100 W: after 40 minutes).

    Args:
        powercap: Its folder; in each ``intel-rapl:N`` a counter in microjoules. Its subzones are part of it and not added.
    """

    def __init__(self, powercap: Path = POWERCAP) -> None:
        self._zones = [
            zone for zone in sorted(powercap.glob("intel-rapl:*")) if zone.name.count(":") == 1
        ]  # intel-rapl:0:0 is a part of intel-rapl:0
        self._start: list[int] | None = None
        self.joules: float | None = None
        self.note = "not measured"

    def start(self) -> None:
        """Read for the first time."""
        self._start = self._read()

    def stop(self) -> None:
        """Read again; ``joules`` and ``note`` say what came of it."""
        end = self._read() if self._start is not None else None
        if self._start is None or end is None:
            return
        used = 0
        for zone, before, after in zip(self._zones, self._start, end, strict=True):
            if after < before:
                after += self._number(zone / "max_energy_range_uj")
            used += after - before
        if used < 0:
            self.note = "not measured: the counter went backwards"
            return
        self.joules, self.note = used / 1e6, "the whole processor package, by RAPL"

    def _read(self) -> list[int] | None:
        if not self._zones:
            self.note = "not measured: this system shows no energy counter"
            return None
        try:
            return [self._number(zone / "energy_uj") for zone in self._zones]
        except PermissionError:
            self.note = "not measured: only an administrator may read the energy counter here"
        except (OSError, ValueError):
            self.note = "not measured: the energy counter cannot be read"
        return None

    @staticmethod
    def _number(path: Path) -> int:
        return int(path.read_text(encoding="ascii"))
