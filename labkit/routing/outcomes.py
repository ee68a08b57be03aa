"""Outcomes of two models on the same requests, from any CSV file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from labkit.errors import ConfigError
from labkit.routing.metrics import Numbers, columns

NEEDED = ("prompt", "weak_correct", "strong_correct")
OPTIONAL = {"weak_cost": 0.0, "strong_cost": 1.0}


@dataclass(frozen=True)
class Outcomes:
    """Who answered what rightly, and at what cost. One entry for each request."""

    prompts: tuple[str, ...]
    weak: Numbers
    strong: Numbers
    weak_cost: Numbers
    strong_cost: Numbers


def read_outcomes(path: Path | str) -> Outcomes:
    """Read a CSV with the columns prompt, weak_correct, strong_correct, and where there are any weak_cost and strong_cost.

    Raises:
        ConfigError: The file cannot be read, a column is missing, there are no rows, or a value is not what it should be.
    """
    import pandas as pd

    path = Path(path)
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise ConfigError(f"{path} cannot be read: {error}.", "Give the path of a CSV file.") from error
    if missing := [name for name in NEEDED if name not in table.columns]:
        raise ConfigError(
            f"{path.name} has no column {', '.join(missing)}.", f"Its columns must be {', '.join(NEEDED)}."
        )
    if bool(np.any(table["prompt"].isna().to_numpy())):
        raise ConfigError(f"{path.name} has a row without a prompt.", "Fill or remove it.")
    given = {name: table[name].to_numpy() for name in (*NEEDED[1:], *OPTIONAL) if name in table.columns}
    numbers = dict(zip(given, columns(**given), strict=True))
    for name in NEEDED[1:]:
        if not np.isin(numbers[name], (0.0, 1.0)).all():
            raise ConfigError(
                f"The column {name} has values other than 0 and 1.", "Write 1 for right, 0 for wrong."
            )
    costs = [numbers.get(name, np.full(len(table), cost)) for name, cost in OPTIONAL.items()]
    return Outcomes(
        tuple(map(str, table["prompt"])), numbers["weak_correct"], numbers["strong_correct"], *costs
    )
