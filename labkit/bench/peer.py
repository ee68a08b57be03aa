"""smolagents at the same desk: its ToolCallingAgent on the same model, with the same tools, so that the two loops can be compared.

What smolagents brings stays as it is: its prompt, its format of a call, its memory, its errors. Needs the extra ``peers``.
"""

from __future__ import annotations

import time
from typing import Any

from smolagents import ChatMessage, LogLevel, MessageRole, Model, TokenUsage, ToolCallingAgent
from smolagents import Tool as PeerTool
from smolagents.utils import AgentGenerationError

from labkit.client import Client
from labkit.decoding.strategies import union_schema
from labkit.errors import ContextOverflow
from labkit.messages import ToolCall
from labkit.tools import Tool, ToolRegistry

MAX_STEPS = 6
MAX_TOKENS = 256
"""Upper bound for each of the model's messages."""
FINAL = Tool(
    "final_answer",
    "Provides a final answer to the given problem.",
    {
        "type": "object",
        "properties": {"answer": {"type": "string"}},
        "required": ["answer"],
        "additionalProperties": False,
    },
)
"""The tool with which a smolagents agent answers, as smolagents describes it."""


def run_peer(
    client: Client, tools: ToolRegistry, words: str, *, structured: bool = True
) -> tuple[str, float]:
    """Answer one request; the answer and the seconds it took. See ``Peer``."""
    return Peer(client, tools, structured=structured).run(words)


class Peer:
    """A smolagents agent that remembers the conversation.

    Args:
        client: The model.
        tools: The desk's tools.
        structured: Let the runtime hold every message to the schema of a call, as an API with ``tool_choice="required"`` does. Without it
            the model writes freely, and smolagents looks for a call in the text.
    """

    def __init__(self, client: Client, tools: ToolRegistry, *, structured: bool = True) -> None:
        self._tools = {t.name: _Wrapped(t) for t in tools}
        self._model = _Adapter(client, structured)
        self._agent = ToolCallingAgent(
            list(self._tools.values()), self._model, max_steps=MAX_STEPS, verbosity_level=LogLevel.OFF
        )

    @property
    def steps(self) -> list[Any]:
        """What smolagents keeps of the conversation: requests, calls, observations."""
        return self._agent.memory.steps

    def run(self, words: str, tools: ToolRegistry | None = None) -> tuple[str, float]:
        """Answer the next message.

        Args:
            words: What the user says.
            tools: The same tools, bound to these words, if they differ from the last turn's.

        Returns:
            The answer, empty if the conversation outgrew the model's context; and seconds.
        """
        for bound in tools or ():
            self._tools[bound.name].bound = bound
        self._model.tools = ToolRegistry(*(t.bound for t in self._tools.values()), FINAL)
        started = time.perf_counter()
        try:
            answer = self._agent.run(words, reset=False)
        except AgentGenerationError as error:
            if not isinstance(error.__cause__, ContextOverflow):
                raise
            answer = ""
        return str(answer), time.perf_counter() - started


class _Wrapped(PeerTool):
    """One of our tools, as one of smolagents'."""

    skip_forward_signature_validation = True

    def __init__(self, bound: Tool) -> None:
        super().__init__()
        self.bound = bound
        self.name, self.description, self.output_type = bound.name, bound.description, "string"
        needed = bound.parameters.get("required", ())
        self.inputs = {
            key: {**_kind(schema), **({} if key in needed else {"nullable": True})}
            for key, schema in bound.parameters["properties"].items()
        }

    def forward(self, **arguments: Any) -> str:
        """Run it. What fails is raised: smolagents tells the model."""
        given = {key: value for key, value in arguments.items() if value is not None}
        result = ToolRegistry(self.bound).execute(ToolCall(self.name, given))
        if not result.ok:
            raise ValueError(result.content)
        return result.content


class _Adapter(Model):
    """A client, as one of smolagents' models."""

    def __init__(self, client: Client, structured: bool) -> None:
        super().__init__(flatten_messages_as_text=True, model_id=client.backend.name)
        self.client, self.structured, self.tools = client, structured, ToolRegistry()

    def generate(
        self,
        messages: list[ChatMessage],
        stop_sequences: list[str] | None = None,
        response_format: dict[str, str] | None = None,
        tools_to_call_from: list[PeerTool] | None = None,
        **kwargs: Any,
    ) -> ChatMessage:
        """The model's next message."""
        sent = self._prepare_completion_kwargs(messages=messages)["messages"]  # type: ignore[arg-type]
        plain = [{"role": str(getattr(m["role"], "value", m["role"])), "content": m["content"]} for m in sent]
        options: dict[str, Any] = {"stop": stop_sequences} if stop_sequences else {}
        if self.structured and tools_to_call_from:
            options = {"schema": union_schema(self.tools, none=False)}
        made = self.client.complete(plain, max_tokens=MAX_TOKENS, **options)
        used = TokenUsage(made.usage.prompt_tokens, made.usage.completion_tokens)
        return ChatMessage(MessageRole.ASSISTANT, made.text, token_usage=used)


def _kind(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter in smolagents' form; what its type allows is said as in the JSON schema."""
    choices = [s for s in schema.get("anyOf", ()) if s.get("type") != "null"]
    kind = {**schema, **choices[0]} if choices else schema
    values = kind.get("enum") or ([kind["const"]] if "const" in kind else None)
    return {
        "type": kind.get("type", "any"),
        "description": schema.get("description", ""),
        **({"enum": values} if values else {}),
        **({"pattern": kind["pattern"]} if "pattern" in kind else {}),
    }
