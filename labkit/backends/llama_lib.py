"""llama.cpp's Python binding: imported when it is needed, and kept from writing to the terminal."""

from __future__ import annotations

import ctypes
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from labkit.backends.threads import limit_spinning
from labkit.errors import BackendUnavailable


def llama_cpp() -> Any:
    """The module ``llama_cpp``.

    Raises:
        BackendUnavailable: It is not installed, or cannot be loaded.
    """
    limit_spinning()
    try:
        import llama_cpp
    except (
        ImportError,
        OSError,
        RuntimeError,
    ) as error:  # the last two: its library is missing or does not load
        raise BackendUnavailable(
            f"llama-cpp-python cannot be imported ({error}).",
            "Run `pip install llama-cpp-python`, or see TROUBLESHOOTING.md.",
        ) from error
    return llama_cpp


@contextmanager
def quiet(c: Any) -> Generator[list[str]]:
    """Collect what llama.cpp reports as errors, instead of letting it write to stderr."""
    said: list[str] = []

    @c.llama_log_callback
    def listen(level: int, text: bytes, _data: object) -> None:
        if level == 3:  # GGML_LOG_LEVEL_ERROR
            said.append(text.decode("utf-8", "replace"))

    c.llama_log_set(listen, ctypes.c_void_p(0))
    try:
        yield said
    finally:
        c.llama_log_set(c._logger.llama_log_callback, ctypes.c_void_p(0))
