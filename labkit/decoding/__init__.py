"""Tool calls that you can rely on, from a model that cannot write one: choose by probability, fill from the user's words.

``call_tools`` takes a conversation and a registry and returns validated calls, or none. Five strategies stand behind it:

- ``choose_fill``: tools are scored, one is chosen, its arguments are ranked and taken from the request (needs ``score``);
- ``union``: one generation under one schema that allows a call of any tool (needs ``schema``);
- ``vote``: the same, sampled several times, the most frequent answer (needs ``schema``);
- ``native``: the runtime's own tool calling (needs ``tools``);
- ``prompt``: a plain answer, parsed; for runtimes that have nothing else, and as a baseline.

``auto`` takes the first of choose_fill, native, union, prompt that the backend has the capabilities for, and the decision names it.
"""

from __future__ import annotations

from typing import Literal

from labkit.client import Client
from labkit.decoding import strategies
from labkit.decoding.strategies import Decision, Task
from labkit.errors import CapabilityMissing, ConfigError, ToolError
from labkit.messages import Capabilities, MessagesLike, as_messages
from labkit.tools import ToolRegistry

Strategy = Literal["auto", "choose_fill", "union", "vote", "native", "prompt"]

NEEDS: dict[str, tuple[str, ...]] = {
    "choose_fill": ("score", "schema"),
    "native": ("tools",),
    "union": ("schema",),
    "vote": ("schema",),
    "prompt": (),
}
"""Capabilities that each strategy needs; ``auto`` looks in this order, and never takes ``vote``."""


def call_tools(
    client: Client,
    messages: MessagesLike,
    registry: ToolRegistry,
    *,
    choice: str = "auto",
    strategy: Strategy = "auto",
    parallel: bool = False,
    samples: int = 5,
    grounded: bool = False,
) -> Decision:
    """Decide which tool to call, with which arguments, or none.

    Args:
        client: The model.
        messages: The conversation; what the user said last is what gets answered.
        registry: The tools.
        choice: ``auto``, ``none`` (never call), ``required`` (always call), or the name of the tool to call.
        strategy: One of the strategies above.
        parallel: Whether several calls may come out of one request.
        samples: How many answers vote, for ``vote``.
        grounded: Every value must stand in the conversation (yes and no excepted). What is not there is named in ``missing``, and no call
            comes out. Without it values are preferred from the conversation, and generated where it has none.

    Returns:
        Validated calls and the strategy that was used. A model's faulty call is not an exception: ``observation`` says what was wrong.

    Raises:
        ConfigError: There is no such strategy.
        CapabilityMissing: The backend cannot do what the strategy needs; nothing weaker is used instead.
        ToolError: ``choice`` names no tool, or requires one where none is registered.
    """
    chosen = pick(client.capabilities, strategy)
    if choice == "none" or (choice == "auto" and not len(registry)):
        return Decision((), chosen)
    if choice not in ("auto", "required"):
        registry = registry.only(choice)
    if not len(registry):
        raise ToolError(
            "A tool is required, but none is registered.", "Register a tool, or use choice='auto'."
        )
    task = Task(
        as_messages(messages),
        registry,
        none=choice == "auto",
        parallel=parallel,
        samples=samples,
        grounded=grounded,
    )
    if chosen == "native":
        return strategies.native(client, task, choice=choice)
    return getattr(strategies, chosen)(client, task)


def pick(capabilities: Capabilities, strategy: Strategy = "auto") -> str:
    """The strategy to use with a backend of these capabilities.

    Raises:
        ConfigError: There is no such strategy.
        CapabilityMissing: The backend lacks what the strategy needs.
    """
    if strategy == "auto":
        return next(
            s for s, needs in NEEDS.items() if s != "vote" and all(getattr(capabilities, n) for n in needs)
        )
    if strategy not in NEEDS:
        raise ConfigError(f"There is no strategy {strategy!r}.", f"Choose one of: auto, {', '.join(NEEDS)}.")
    if lacking := [n for n in NEEDS[strategy] if not getattr(capabilities, n)]:
        raise CapabilityMissing(
            f"The strategy {strategy} needs {' and '.join(lacking)}.",
            'Use strategy="auto", or another model.',
        )
    return strategy


__all__ = ["NEEDS", "Decision", "Strategy", "call_tools", "pick"]
