"""Our requests in Foundry Local's terms."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

from labkit.backends.constraint import compile_schema
from labkit.backends.foundry_manager import sdk
from labkit.backends.wire import COMPACT
from labkit.errors import ContextOverflow
from labkit.messages import FinishReason, Message, Request

_CONTROL = re.compile(r"<\|(?=[^|<>]{1,40}\|>)")


def fill(session: Any, asked: Any, request: Request, context: int) -> int:
    """Put a request in Foundry Local's terms.

    Args:
        session: A chat session.
        asked: Foundry Local's request, still empty.
        request: Ours.
        context: Tokens that prompt and answer may have together.

    Returns:
        The tokens of the prompt.

    Raises:
        SchemaError: The schema cannot be compiled.
        ContextOverflow: The prompt is too long.
    """
    found = sdk()
    for item in _items(found, request.messages):
        asked.add_item(item)
    guidance: dict[str, str] = {}
    if request.schema is not None:
        compile_schema(request.schema)  # its errors are clearer
        guidance = {
            "guidance_type": "json_schema",
            "guidance_data": json.dumps({**request.schema, **COMPACT}),
        }
    elif request.grammar is not None:
        guidance = {"guidance_type": "lark_grammar", "guidance_data": request.grammar}
    search = found.SearchOptions(
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,  # left out, it would be 50
        seed=request.seed,
        max_output_tokens=1,
    )
    asked.set_options(found.RequestOptions(search=search, additional_options=guidance))
    budget = session.preflight_request(asked)
    room = context - budget.prompt_tokens
    if room < 1:
        raise ContextOverflow(
            f"The prompt has {budget.prompt_tokens} tokens: {1 - room} too many for a context of {context} that must"
            " also hold the answer.",
            "Shorten it, or raise LABKIT_CONTEXT (the model sets its own upper bound).",
        )
    search.max_output_tokens = min(request.max_tokens, room)
    asked.set_options(found.RequestOptions(search=search, additional_options=guidance))
    return budget.prompt_tokens


def _items(found: Any, messages: Sequence[Message]) -> Iterator[Any]:
    """Foundry Local's items. It wants a tool's answer to follow its call; one without goes as the user's words."""
    open_calls: dict[
        str | None, str
    ] = {}  # by our ids, which may repeat in a conversation; Foundry Local's may not
    numbers = count(1)
    roles = {"system": found.MessageItem.system, "assistant": found.MessageItem.assistant}
    for m in messages:
        # the name of a control token in a message must not end the turn
        content = _CONTROL.sub("<| ", m.content.encode("utf-8", "replace").decode().replace("\0", ""))
        if m.role == "tool" and m.tool_call_id in open_calls:
            yield found.ToolResultItem(open_calls.pop(m.tool_call_id), content)
            continue
        if content or not m.tool_calls:
            yield roles.get(m.role, found.MessageItem.user)(content)
        for call in m.tool_calls:
            open_calls[call.id] = f"call_{next(numbers)}"
            yield found.ToolCallItem(open_calls[call.id], call.name, json.dumps(dict(call.arguments)))


def reason(final: Any) -> FinishReason:
    """Why an answer ended."""
    return "length" if final.finish_reason.name == "LENGTH" else "stop"
