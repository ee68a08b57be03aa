"""Turning tokens' bytes into text that is safe to show while it streams."""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class StopFilter:
    """Decodes UTF-8 as it comes, and ends before any of the stop strings, however they are split over pieces.

    Args:
        stop: Strings that end the text; they are not part of it.
    """

    def __init__(self, stop: Sequence[str]) -> None:
        self._stop = stop
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self.stopped = False

    def feed(self, piece: bytes | str) -> str:
        """Take the next piece; return what is certain to be part of the text."""
        self._held += piece if isinstance(piece, str) else self._decoder.decode(piece)
        found = [at for s in self._stop if (at := self._held.find(s)) >= 0]
        if found:
            self.stopped = True
            return self._release(min(found), drop=True)
        return self._release(len(self._held) - self._maybe_stop())

    def rest(self) -> str:
        """What is left when no more pieces come."""
        if self.stopped:
            return ""
        self._held += self._decoder.decode(b"", final=True)
        return self._release(len(self._held))

    def _maybe_stop(self) -> int:
        """Length of the longest end of the text that may be the beginning of a stop string."""
        lengths = (n for s in self._stop for n in range(len(s) - 1, 0, -1) if self._held.endswith(s[:n]))
        return max(lengths, default=0)

    def _release(self, n: int, *, drop: bool = False) -> str:
        out, self._held = self._held[:n], "" if drop else self._held[n:]
        return out
