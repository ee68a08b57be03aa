"""Money: what a run would have cost at the prices of a dated table."""

from __future__ import annotations

import tomllib
from datetime import date as Date
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from labkit import data
from labkit.errors import ConfigError
from labkit.evaluate.record import Run

OLD_DAYS = 180
Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelPrice(_Data):
    """Money for each million tokens.

    Attributes:
        input: Prompt tokens.
        cached: Prompt tokens that the provider had in its cache.
        output: Tokens generated.
    """

    input: Price
    cached: Price
    output: Price


class MachinePrice(_Data):
    """What a machine of one's own costs.

    Attributes:
        price: To buy it.
        years: How long it serves.
        busy_share: Which part of that time it works: an idle machine costs as much.
        watts: Its power at work; used where the energy was not measured.
        kwh: Money for a kilowatt-hour.
    """

    price: Price
    years: Positive
    busy_share: Annotated[float, Field(gt=0, le=1)]
    watts: Price
    kwh: Price

    @property
    def per_second(self) -> float:
        """Money for a second of work, without electricity."""
        return self.price / (self.years * 365 * 24 * 3600 * self.busy_share)


class Cost(_Data):
    """Money for a thousand cases.

    Attributes:
        who: Who answers.
        per_thousand: Money.
        basis: What it was computed from.
    """

    who: str
    per_thousand: float
    basis: str


class Prices(_Data):
    """A dated price table.

    Attributes:
        date: When somebody looked.
        currency: Of all prices.
        source: Where they come from, in words.
        models: By name.
        machine: The machine that the runs are made on.
    """

    date: Date
    currency: str
    source: str
    models: dict[str, ModelPrice]
    machine: MachinePrice

    @classmethod
    def load(cls, path: Path | str | None = None) -> Prices:
        """Read a table; by default the course's example.

        Raises:
            ConfigError: It cannot be read, or a price is missing or no price.
        """
        path = Path(path) if path else data.path("prices.toml")
        try:
            return cls.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{path} cannot be read: {error}.", "Give a TOML file.") from error
        except ValidationError as error:
            first = error.errors()[0]
            raise ConfigError(
                f"{path.name}: {'.'.join(map(str, first['loc']))}: {first['msg']}.",
                "Take data/prices.toml as a model.",
            ) from error

    def age(self, today: Date | None = None) -> str:
        """When the prices were looked up, and a warning if that is more than half a year ago or in the future."""
        days = ((today or Date.today()) - self.date).days
        warning = (
            "; OLD: look again" if days > OLD_DAYS else "; in the FUTURE: check the date" if days < 0 else ""
        )
        return f"prices of {self.date.isoformat()} ({self.source}){warning}"

    def tokens(self, model: str, prompt: float, cached: float, written: float) -> float:
        """Money for tokens.

        Args:
            model: Its name in the table.
            prompt: Prompt tokens, the cached ones included.
            cached: Those of them in the provider's cache.
            written: Tokens generated.

        Raises:
            ConfigError: The table has no such model.
        """
        if model not in self.models:
            raise ConfigError(f"The price table has no {model!r}.", f"It has: {', '.join(self.models)}.")
        price = self.models[model]
        fresh = max(0.0, prompt - cached)
        return (fresh * price.input + cached * price.cached + written * price.output) / 1e6

    def own_machine(self, run: Run) -> Cost:
        """What the run's cases cost on the machine that ran them: its share of the machine's price, and electricity.

        Raises:
            ConfigError: The run has no time.
        """
        times = [r.seconds for r in run.results if r.seconds is not None]
        if not times:
            raise ConfigError("No case of this run has a time.", "Run it again.")
        seconds = sum(times) / len(times)
        energy = run.resources.energy_j
        joules = energy / len(run.results) if energy is not None else self.machine.watts * seconds
        money = seconds * self.machine.per_second + joules / 3.6e6 * self.machine.kwh
        told = "measured" if energy is not None else f"assumed {self.machine.watts:g} W"
        return Cost(
            who=run.backend,
            per_thousand=1000 * money,
            basis=f"{seconds:.2f} s a case on this machine, energy {told}",
        )
