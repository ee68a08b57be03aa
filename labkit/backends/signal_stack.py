"""Room for signal handlers, so that interrupting a cell does not end the kernel."""

from __future__ import annotations

import ctypes
import sys

ROOM = 512 * 1024
"""Bytes. What a processor keeps of its registers for a handler has kilobytes, and the dynamic linker may keep it once more."""
_OFF = 2  # SS_DISABLE
_kept: list[object] = []


class _Stack(ctypes.Structure):
    """``stack_t`` of sigaltstack(2) on Linux."""

    _fields_ = (("at", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


def widen() -> None:
    """Give this thread's alternate signal stack more room, if it has one.

    Python's handlers run on it where there is one. OpenVINO sets one of 12 kB while it compiles a model (seen with 2026.4.1), which is too small where the
    dynamic linker saves the registers of AVX-512 once more: the first Ctrl-C or "interrupt" could then end the process with a segmentation fault.
    """
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None)
    now = _Stack()
    if libc.sigaltstack(None, ctypes.byref(now)) or now.flags & _OFF or now.size >= ROOM:
        return
    memory = ctypes.create_string_buffer(ROOM)
    wide = _Stack(ctypes.addressof(memory), 0, ROOM)
    if libc.sigaltstack(ctypes.byref(wide), None) == 0:
        _kept.append(memory)  # for as long as the thread may get a signal
