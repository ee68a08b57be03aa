"""Finding out what a server can do by the effect of asking for it: several answer 200 and ignore an option.

Six to nine short requests, at most 24 tokens each.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import openai

from labkit.backends.wire import SCHEMA_FORMS, Json
from labkit.backends.wire_errors import errors
from labkit.messages import Capabilities

Ask = Callable[[Json], "Json | None"]
"""Sends one chat request; the whole answer, or None if the server refuses it."""

ODD = "kelp"
"""A word that no model says by itself in answer to the probes."""
ONLY = {
    "type": "object",
    "properties": {"word": {"type": "string", "enum": [ODD]}},
    "required": ["word"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Probed:
    """What came out.

    Attributes:
        capabilities: Those that showed an effect.
        schema_form: The name in ``SCHEMA_FORMS`` that works; empty if none does.
        usage: Whether a whole answer says how many tokens it cost.
    """

    capabilities: Capabilities
    schema_form: str
    usage: bool


def probe(ask: Ask, context: int = 0) -> Probed:
    """Try schema, log-probabilities, seed and tools."""
    schema_form = next((form for form in SCHEMA_FORMS if _schema(ask, form)), "")
    plain = ask(_request("Say hello.", 1, logprobs=True, top_logprobs=1))
    capabilities = Capabilities(
        schema=bool(schema_form),
        logprobs=bool(plain and ((_first(plain).get("logprobs") or {}).get("content"))),
        seed=_seed(ask),
        tools=_tools(ask, "required", "note") and _tools(ask, "keep", "keep"),
        context=context,
    )
    return Probed(capabilities, schema_form, bool(plain and plain.get("usage")))


def asker(client: openai.OpenAI, model: str, name: str) -> Ask:
    """Sends the probe's requests. A refusal is an answer; only a busy server is asked again."""

    def ask(fields: Json) -> Json | None:
        for patient in (client.with_options(max_retries=0), client):
            try:
                found: Any = patient.post(
                    "/chat/completions", cast_to=object, body={"model": model, **fields}
                )
                return found if isinstance(found, dict) else None
            except openai.RateLimitError:
                continue
            except (
                openai.BadRequestError,
                openai.UnprocessableEntityError,
                openai.InternalServerError,
                ValueError,
            ):
                return None
            except openai.APIError as error:
                with errors(name):
                    raise error
        return None

    return ask


def _schema(ask: Ask, form: str) -> bool:
    answer = ask(_request("Say hello.", 24, response_format=SCHEMA_FORMS[form](ONLY)))
    return answer is not None and _reads(_text(answer))


def _seed(ask: Ask) -> bool:
    answers = [ask(_request("Write a poem.", 12, temperature=1.5, seed=n)) for n in (7, 7, 8)]
    if None in answers:
        return False
    first, again, other = map(_text, answers)
    return first == again != other and first != ""


def _tools(ask: Ask, choice: str, expected: str) -> bool:
    given = [
        {
            "type": "function",
            "function": {"name": n, "description": f"To {n} a word.", "parameters": ONLY, "strict": True},
        }
        for n in ("note", "keep")
    ]
    named = choice if choice == "required" else {"type": "function", "function": {"name": choice}}
    answer = ask(_request("Say hello.", 48, tools=given, tool_choice=named))
    found = (_first(answer).get("message") or {}).get("tool_calls") if answer else None
    if not found:
        return False
    function = found[0].get("function") or {}
    fits = (
        function.get("name") in ("note", "keep") if choice == "required" else function.get("name") == expected
    )
    return fits and _reads(function.get("arguments"))


def _request(words: str, limit: int, **options: Any) -> Json:
    return {
        "messages": [{"role": "user", "content": words}],
        "max_tokens": limit,
        "temperature": 0,
        **options,
    }


def _first(answer: Json | None) -> Json:
    choices = (answer or {}).get("choices") or [{}]
    return choices[0]


def _text(answer: Json | None) -> str:
    return (_first(answer).get("message") or {}).get("content") or ""


def _reads(text: object) -> bool:
    try:
        return json.loads(str(text)) == {"word": ODD}
    except ValueError:
        return False
