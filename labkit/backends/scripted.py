"""A backend without a model: it answers from a script. Checks and tests run on it, so that they judge code only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from labkit.backends.base import scored
from labkit.errors import ScriptError
from labkit.messages import Capabilities, Chunk, Completion, Health, Message, Request, Scored, Usage

Step = str | Completion | BaseException | dict[str, float] | Callable[[Request], str]
"""A reply: a text, a completion, an error to raise, ``{choice: logprob}`` for ``score``, or a function of the request."""


class ScriptedBackend:
    """Exact replies in order. Raises on a request that the script does not have; ``close`` raises on unused steps.

    Args:
        script: One step for each request that will come.

    Example:
        >>> from labkit import Client
        >>> with Client(ScriptedBackend(["Paris"])) as model:
        ...     print(model.complete("What is the capital of France?"))
        Paris
    """

    name = "scripted"
    capabilities = Capabilities(schema=True, grammar=True, score=True, seed=True)

    def __init__(self, script: Sequence[Step]) -> None:
        self._steps = list(script)
        self.requests: list[Request] = []
        """Every request that came, in order, for a test to look at."""

    def load(self) -> None:
        """Nothing to do."""

    def stream(self, request: Request) -> Iterator[Chunk]:
        """The next step, a word at a time.

        Raises:
            ScriptError: No step is left, or the next one answers ``score``.
        """
        step = self._next(request)
        if isinstance(step, BaseException):
            raise step
        if isinstance(step, dict):
            raise self._mismatch("a completion was asked for", step)
        if isinstance(step, Completion):
            yield Chunk(step.text, step.logprobs, step.finish_reason, step.usage)
            return
        text = step(request) if callable(step) else step
        words = text.split(" ")
        pieces = [word if i == 0 else " " + word for i, word in enumerate(words)]
        for piece in pieces[: request.max_tokens]:
            yield Chunk(piece)
        cut = len(pieces) > request.max_tokens
        usage = Usage(completion_tokens=min(len(pieces), request.max_tokens))
        yield Chunk(finish_reason="length" if cut else "stop", usage=usage)

    def score(self, messages: tuple[Message, ...], choices: Sequence[str]) -> list[Scored]:
        """The next step, which must be a dict with a log-probability for every choice.

        Raises:
            ScriptError: No step is left, or the next one is not such a dict.
        """
        step = self._next(Request(messages))
        if isinstance(step, BaseException):
            raise step
        if not isinstance(step, dict) or set(step) != set(choices):
            raise self._mismatch(f"scores were asked for {list(choices)}", step)
        return scored([(choice, step[choice], 1) for choice in choices])

    def health(self) -> Health:
        """Always well; the detail says how many steps are left."""
        return Health(True, f"{len(self._steps)} steps left")

    def close(self) -> None:
        """End the script.

        Raises:
            ScriptError: Steps are left that nothing asked for.
        """
        left, self._steps = self._steps, []
        if left:
            raise ScriptError(
                f"{len(left)} steps of the script were never asked for; the next one was {left[0]!r}.",
                "The code under test made fewer requests than expected: look at backend.requests.",
            )

    def _next(self, request: Request) -> Step:
        self.requests.append(request)
        if not self._steps:
            raise ScriptError(
                f"Request {len(self.requests)} came, but the script has no step left. Its last message: "
                f"{request.messages[-1].content!r}",
                "The code under test made more requests than expected: is a loop missing its end?",
            )
        return self._steps.pop(0)

    def _mismatch(self, asked: str, step: Step) -> ScriptError:
        return ScriptError(
            f"In request {len(self.requests)} {asked}, but the script's step is {step!r}.",
            "Make the script's steps fit the requests, in their order.",
        )
