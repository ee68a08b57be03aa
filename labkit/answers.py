"""Answers that hold: every number, identifier, date and address in them was said by the user or returned by a tool.

``quote`` gives the sentences that the tools wrote for the user; ``write`` lets the model put them into its own words and keeps its text only
if no fact was added and none was lost. A 135M model is good at neither, so ``quote`` is the default.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from labkit.client import Client
from labkit.messages import ToolResult, system, user
from labkit.redact import EMAIL

UNKNOWN = "I do not know"
INSTRUCTION = "Answer the question in one or two sentences, with the facts and nothing else."
_FACT = re.compile(rf"{EMAIL.pattern}|#?\b[A-Za-z]{{0,4}}-?\d[\w:/.,-]*")


def facts(text: str) -> list[str]:
    """The numbers, identifiers, dates, times and addresses in a text, in order. Numbers in words are not seen."""
    return [m[0].lstrip("#").rstrip(".,:-/").casefold() for m in _FACT.finditer(text)]


def unsupported(answer: str, evidence: Sequence[str]) -> list[str]:
    """The facts of an answer that stand nowhere in the evidence."""
    known = {fact for text in evidence for fact in facts(text)}
    return [fact for fact in dict.fromkeys(facts(answer)) if fact not in known]


def fields(result: ToolResult) -> Mapping[str, Any] | None:
    """A result's fields, if it is a JSON object that came through whole and the tool did not fail."""
    try:
        value = json.loads(result.content) if result.ok else None
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def sentence(result: ToolResult) -> str:
    """What a result says to the user: its field ``say``, else its fields, else its text; for a failure the reason."""
    if not result.ok:
        return result.content.removeprefix("Error: ")
    values = fields(result)
    if values is None:
        return result.content
    return str(values.get("say") or "; ".join(f"{k.replace('_', ' ')}: {v}" for k, v in values.items()) + ".")


def quote(results: Sequence[ToolResult]) -> str:
    """The results' sentences, each once."""
    return " ".join(dict.fromkeys(sentence(result) for result in results))


def write(client: Client, words: str, results: Sequence[ToolResult], *, max_tokens: int = 96) -> str:
    """The model's own words for the results, or their quotation where it added a fact or lost one."""
    quoted = quote(results)
    prompt = [system(INSTRUCTION), user(f"Facts: {quoted}\nQuestion: {words}")]
    written = client.complete(prompt, max_tokens=max_tokens).text.strip()
    kept = not unsupported(quoted, [written])
    return written if written and kept and not unsupported(written, [quoted, words]) else quoted
