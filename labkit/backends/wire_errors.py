"""What the official OpenAI client raises, as labkit's errors, each with what to do next."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

import openai

from labkit.errors import (
    BackendError,
    BackendUnavailable,
    ConfigError,
    ContextOverflow,
    GenerationTimeout,
    SchemaError,
    UnknownModel,
)


@contextmanager
def errors(name: str, so_far: Callable[[], str] = str) -> Generator[None]:
    """Turn what the official client raises into labkit's errors.

    Args:
        name: Whom to name.
        so_far: The text that had come by then.
    """
    try:
        yield
    except (openai.APITimeoutError, TimeoutError) as error:
        if type(error.__cause__).__name__ == "ConnectTimeout":
            raise _absent(name) from error
        raise _timed_out(name, so_far()) from error
    except openai.APIConnectionError as error:
        if text := so_far():
            raise BackendError(
                f"{name} broke off after {len(text)} characters: the connection was lost.",
                "Ask again; if it happens twice, look at the server's log.",
            ) from error
        raise _absent(name) from error
    except openai.APIStatusError as error:
        raise _refused(name, error) from error
    except openai.APIError as error:
        raise BackendError(f"{name} reports: {error.message}.", "Look at the server's log.") from error
    except (ValueError, AttributeError, TypeError, LookupError) as error:
        raise BackendError(
            f"{name} sent what is not a chat answer ({type(error).__name__}: {str(error)[:80]}).",
            "Check that the address ends in the API's path, usually /v1.",
        ) from error


def _absent(name: str) -> BackendUnavailable:
    return BackendUnavailable(f"{name} does not answer.", "Start the server, or correct the address after @.")


def _timed_out(name: str, text: str) -> GenerationTimeout:
    """The error for a server that takes too long."""
    return GenerationTimeout(
        f"{name} did not finish in time ({len(text)} characters came).",
        "Allow more time, or fewer max_tokens; see whether the server is busy.",
        partial=text,
    )


def _refused(name: str, error: openai.APIStatusError) -> Exception:
    status, body = error.status_code, error.body
    said = str(body.get("message", error) if isinstance(body, dict) else error)[:300]
    code = str(getattr(error, "code", "") or "")
    if status in (401, 403):
        return ConfigError(
            f"{name} refuses the key ({status}).",
            "Set OPENAI_API_KEY. It is sent only over https, or to this machine.",
        )
    if status == 404:
        return UnknownModel(
            f"{name} was not found by its server: {said}.", "Ask its /v1/models for the names."
        )
    if status == 429 or status >= 500:
        why = "has too many requests" if status == 429 else "failed"
        return BackendUnavailable(
            f"{name} {why} ({status}: {said}).", "Wait a little, or name another backend."
        )
    lower = f"{code} {said}".lower()
    if "context" in lower and any(word in lower for word in ("exceed", "length", "maximum", "too long")):
        return ContextOverflow(
            f"{name}: {said}", "Shorten the prompt, or start the server with more context."
        )
    if any(word in lower for word in ("schema", "grammar")):
        return SchemaError(f"{name} cannot use the schema: {said}", "Simplify the schema.")
    return BackendError(
        f"{name} refuses the request ({status}: {said}).", "Correct the option that it names."
    )
