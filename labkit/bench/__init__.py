"""``labkit bench NAME``: one module for each name, with a function ``run(full)`` that returns figures."""

from __future__ import annotations

from importlib import import_module

from labkit.bench.figures import Figure
from labkit.errors import ConfigError

NAMES = ("engine", "tools", "agent", "http")


def run(name: str, *, full: bool = False) -> list[Figure]:
    """Run a benchmark.

    Raises:
        ConfigError: There is no benchmark of that name.
    """
    if name not in NAMES:
        raise ConfigError(f"There is no benchmark {name!r}.", f"Choose one of: {', '.join(NAMES)}.")
    return import_module(f"labkit.bench.{name}").run(full=full)


__all__ = ["NAMES", "Figure", "run"]
