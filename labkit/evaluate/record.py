"""What a run of a suite measured, and its file."""

from __future__ import annotations

import os
import tempfile
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from labkit.bench.figures import Figure, bootstrap, share
from labkit.errors import ConfigError

VERSION = 1
"""Counted up when the file's form changes."""
Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Result(_Data):
    """How one case went.

    Attributes:
        case: Its id.
        kind: Its kind.
        outcome: ``completed``; ``failed``, if there was a result but not the right one; ``lost``, if there was none.
        reason: Why it was not completed.
        seconds: How long it took; None if the clock went backwards meanwhile.
        model_calls: Requests to the model.
        tokens_prompt: Tokens of their prompts, as far as the runtime tells.
        tokens_cached: Those of them that were not read again.
        tokens_written: Tokens generated.
        untold: Requests whose tokens the runtime does not tell.
        tool_calls: Calls of tools.
        backend: Who answered last.
    """

    case: str
    kind: str = ""
    outcome: Literal["completed", "failed", "lost"]
    reason: str = ""
    seconds: Amount | None = None
    model_calls: Count = 0
    tokens_prompt: Count = 0
    tokens_cached: Count = 0
    tokens_written: Count = 0
    untold: Count = 0
    tool_calls: Count = 0
    backend: str = ""

    @property
    def tokens_read(self) -> int:
        """Prompt tokens that were read: those that no cache had."""
        return max(0, self.tokens_prompt - self.tokens_cached)


class Resources(_Data):
    """What this process and its children used during a run.

    Attributes:
        peak_rss_mb: Largest resident memory that was seen, sampled five times a second.
        cpu_s: Processor seconds, user and system. What a child used that ended in between two samples is not in it.
        energy_j: Energy of the whole processor package, everything else that ran included; None where it cannot be read.
        energy_note: Where it was read, or why not.
    """

    peak_rss_mb: Amount
    cpu_s: Amount
    energy_j: Amount | None = None
    energy_note: str = "not measured"


class Run(_Data):
    """A suite, run once with one configuration.

    Attributes:
        format: Says what the file is.
        version: Of its form.
        suite: The suite's name.
        label: The configuration, in the words of whoever ran it.
        backend: The backend's name when the run began.
        date: When it began.
        machine: System, cores and memory: times of another machine are not compared.
        seconds: From the first case to the last one.
        results: One for each case, in order.
        resources: Memory, processor time and energy.
    """

    format: Literal["labkit.evaluation"] = "labkit.evaluation"
    version: int = VERSION
    suite: str
    label: str = ""
    backend: str
    date: AwareDatetime = Field(default_factory=lambda: datetime.now().astimezone())
    machine: str = ""
    seconds: Amount | None = None
    results: Annotated[tuple[Result, ...], Field(min_length=1)]
    resources: Resources

    @model_validator(mode="after")
    def _once_each(self) -> Self:
        ids = [result.case for result in self.results]
        if twice := sorted({i for i in ids if ids.count(i) > 1}):
            raise ValueError(f"cases that occur twice: {', '.join(twice)}")
        return self

    @property
    def outcomes(self) -> dict[str, bool]:
        """By case: whether it was completed."""
        return {r.case: r.outcome == "completed" for r in self.results}

    @property
    def latencies(self) -> dict[str, float]:
        """By case that came to an end: seconds."""
        return {r.case: r.seconds for r in self.results if r.seconds is not None and r.outcome != "lost"}

    def figures(self) -> list[Figure]:
        """Completion, latency, tokens, tool calls, memory, processor time; energy where it was measured.

        Intervals are 95% bootstrap intervals over the cases: what another sample of such cases might have given.
        """
        n, name = len(self.results), self.suite
        lost = sum(r.outcome == "lost" for r in self.results)
        figures = [
            share(f"{name}.completed", list(self.outcomes.values())),
            Figure(f"{name}.lost", lost, "cases", n),
        ]
        if times := list(self.latencies.values()):
            for p in (50, 90, 95):
                low, high = bootstrap(times, partial(np.percentile, q=p))
                value = float(np.percentile(times, p))
                figures.append(Figure(f"{name}.p{p}_s", value, "s", len(times), low, high))
            figures.append(share(f"{name}.under_a_second", [t < 1 for t in times]))
        for what in ("tokens_read", "tokens_written", "model_calls", "tool_calls"):
            if what.startswith("tokens") and any(r.untold for r in self.results):
                continue  # a sum of what is partly unknown
            counts = [float(getattr(r, what)) for r in self.results]
            unit = f"{what.partition('_')[0]}/case" if what.startswith("tokens") else "calls/case"
            figures.append(Figure(f"{name}.{what}", sum(counts) / n, unit, n, *bootstrap(counts)))
        figures += [
            Figure(f"{name}.peak_rss", self.resources.peak_rss_mb, "MB", 1),
            Figure(f"{name}.cpu_s", self.resources.cpu_s, "s", 1),
        ]
        if self.resources.energy_j is not None:
            figures.append(Figure(f"{name}.energy", self.resources.energy_j, "J", 1))
        return figures

    def save(self, path: Path | str) -> Path:
        """Write the run as JSON: the whole file or none of it.

        Raises:
            ConfigError: It cannot be written there.
        """
        path = Path(path)
        try:
            with tempfile.NamedTemporaryFile(
                "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
            ) as file:
                part = Path(file.name)
                try:
                    file.write(self.model_dump_json(indent=1) + "\n")
                    file.flush()
                    os.fsync(file.fileno())
                except BaseException:
                    part.unlink(missing_ok=True)
                    raise
            part.replace(path)
        except OSError as error:
            raise ConfigError(f"{path} cannot be written: {error.strerror}.", "Name another path.") from error
        return path

    @classmethod
    def load(cls, path: Path | str) -> Run:
        """Read what ``save`` wrote.

        Raises:
            ConfigError: The file is missing or no run, or a newer labkit wrote it.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} cannot be read: {error}.", "Give the file of a run.") from error
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str, name: str) -> Run:
        """Read a run from JSON text.

        Raises:
            ConfigError: It is no run, or a newer labkit wrote it.
        """
        try:
            made = cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise ConfigError(
                f"{name} is no run of an evaluation: {where}: {first['msg']}.",
                "Give a file that Run.save wrote, unchanged.",
            ) from error
        if made.version != VERSION:
            raise ConfigError(
                f"{name} has version {made.version} of the form, and this labkit reads version {VERSION}.",
                "Use the labkit that wrote it, or run the evaluation again.",
            )
        return made
