"""``labkit bench NAME``: one module for each name, with a function ``run(full)`` that returns figures."""

from __future__ import annotations

from importlib import import_module

from labkit.bench.figures import Figure
from labkit.errors import ConfigError

NAMES = ("engine", "tools", "agent", "route", "grade", "http")


def run(name: str, *, full: bool = False, **options: str) -> list[Figure]:
    """Run a benchmark.

    Args:
        name: One of ``NAMES``.
        full: The long run.
        **options: What this one takes besides: ``route`` takes ``strong``.

    Raises:
        ConfigError: There is no benchmark of that name.
    """
    if name not in NAMES:
        raise ConfigError(f"There is no benchmark {name!r}.", f"Choose one of: {', '.join(NAMES)}.")
    return import_module(f"labkit.bench.{name}").run(full=full, **options)


__all__ = ["NAMES", "Figure", "run"]
