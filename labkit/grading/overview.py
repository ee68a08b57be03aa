"""How a class stands: tables of pandas and figures, from results or from the learners' own progress.

In a notebook: ``checks = overview.checks(Path("results"))``, then ``plots.show(*overview.distribution(checks))``.
"""

from __future__ import annotations

import json
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from labkit.errors import LabError
from labkit.grading import result
from labkit.grading.files import read_bounded
from labkit.grading.result import FILE
from labkit.progress import Entry

Frame = Any
"""A ``pandas.DataFrame``."""
COLUMNS = ["student", "lab", "check", "points", "earned", "public"]


def checks(results: Path) -> Frame:
    """One row for each check of each graded submission: student, lab, check, points, earned, public.

    Raises:
        LabError: There are no results.
    """
    import pandas as pd

    found = [done for path in sorted(results.glob(f"*/*/{FILE}")) if (done := result.read(path))]
    if not found:
        raise LabError(f"There are no results in {results}.", "Make them with `labkit autograde`.")
    rows = [
        (done.student, done.lab, check.check, check.points, check.earned, check.public)
        for done in found
        for check in done.checks
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def progress(folder: Path) -> Frame:
    """The same from what learners' machines keep: files ``STUDENT.json``, each the output of ``labkit progress --json``.

    Points are 1 for each check, and ``tries`` is added. ``earned`` says that the check has passed there once.

    Raises:
        LabError: There is no such file, or one is something else.
    """
    import pandas as pd

    names = [field.name for field in fields(Entry)]
    rows: list[tuple[Any, ...]] = []
    for path in sorted(folder.glob("*.json")):
        try:
            entries = [Entry(**entry) for entry in json.loads(read_bounded(path))]
            rows += [
                (
                    path.stem,
                    e.check[:5],
                    str(e.check),
                    1.0,
                    float(bool(e.passed)),
                    bool(e.passed),
                    int(e.tries),
                )
                for e in entries
            ]
        except (ValueError, TypeError, RecursionError):
            raise LabError(
                f"{path} is not what `labkit progress --json` prints, a list of {', '.join(names)}.",
                "Leave it out.",
            ) from None
    if not rows:
        raise LabError(
            f"There is no progress in {folder}.", "Collect it with `labkit progress --json > STUDENT.json`."
        )
    return pd.DataFrame(rows, columns=[*COLUMNS, "tries"])


def totals(table: Frame) -> Frame:
    """One row for each student, one column for each lab: the share of its points, missing where nothing was handed in."""
    sums = table.groupby(["student", "lab"])[["earned", "points"]].sum()
    return (sums["earned"] / sums["points"]).unstack("lab")


def hardest(table: Frame) -> Frame:
    """The checks from the hardest to the easiest.

    Returns:
        For each check how many were handed in, the share that earned its points, and the share that passed in the notebook but
        not before the judge: there the public check says too little, or someone forged it.
    """
    full = table["earned"] >= table["points"]
    only = (table["public"] == True) & ~full  # noqa: E712  None is neither
    made = table.assign(solved=full, only_public=only).groupby(["lab", "check"])
    found = made.agg(n=("student", "size"), solved=("solved", "mean"), only_public=("only_public", "mean"))
    return found.reset_index().sort_values(["solved", "check"], ignore_index=True)


def stuck(table: Frame) -> Frame:
    """Who is stuck where: for each student and lab the first check that is not solved, and how many are not.

    With tries, those with many come first.
    """
    order = {name: place for place, name in enumerate(dict.fromkeys(table["check"]))}
    open_ = (
        table[table["earned"] < table["points"]].assign(place=table["check"].map(order)).sort_values("place")
    )
    by_lab = open_.groupby(["student", "lab"], sort=False)
    found = by_lab.agg(first=("check", "first"), open=("check", "size"))
    if "tries" in table:
        found["tries"] = by_lab["tries"].max()
    keys, falling = (["tries", "open"], [False, False]) if "tries" in table else (["open"], [False])
    return found.reset_index().sort_values(
        [*keys, "student", "lab"], ascending=[*falling, True, True], ignore_index=True
    )


def distribution(table: Frame) -> tuple[Any, str]:
    """Figure and its text: for each lab how many students reached which share of the points."""
    import numpy as np
    from matplotlib.figure import Figure

    shares, edges = totals(table), np.linspace(0, 1, 6)
    labels = [f"{low:.0%} to {high:.0%}" for low, high in pairwise(edges)]
    figure = Figure(figsize=(7, 2.2 * len(shares.columns)), layout="constrained")
    told: list[str] = []
    for axes, lab in zip(figure.subplots(len(shares.columns), squeeze=False)[:, 0], shares, strict=True):
        counts, _ = np.histogram(shares[lab].dropna().clip(0, 1), edges)
        axes.bar(labels, counts, color="#0072B2", edgecolor="black")
        axes.set(title=lab, ylabel="students")
        axes.yaxis.get_major_locator().set_params(integer=True)
        told.append(
            f"{lab}: " + ", ".join(f"{c} with {name}" for name, c in zip(labels, counts, strict=True))
        )
    return figure, f"Students by their share of the points. {'; '.join(told)}."


def hardest_figure(table: Frame, most: int = 15) -> tuple[Any, str]:
    """Figure and its text: the hardest checks, with those that passed only in the notebook."""
    from matplotlib.figure import Figure

    found = hardest(table).head(most)[::-1]
    figure = Figure(figsize=(7, 1 + 0.3 * len(found)), layout="constrained")
    axes = figure.subplots()
    axes.barh(found["check"], found["solved"], color="#0072B2", edgecolor="black", label="solved")
    axes.barh(found["check"], found["only_public"], left=found["solved"], color="#E69F00", hatch="//", edgecolor="black", label="passed only in the notebook")  # fmt: skip
    axes.set(xlim=(0, 1), xlabel="share of the submissions")
    axes.legend(fontsize=8)
    lines = [
        f"{r.check} {r.solved:.0%} (only in the notebook {r.only_public:.0%})"
        for r in found[::-1].itertuples()
    ]
    return figure, f"The hardest checks, share solved: {', '.join(lines)}."


def map_figure(table: Frame, most: int = 60) -> tuple[Any, str]:
    """Figure and its text: students from top to bottom, checks from left to right, dark where the points were earned, grey where
    nothing was handed in.

    Args:
        table: Of ``checks`` or ``progress``.
        most: Rows; those with the fewest points come first.
    """
    from matplotlib.figure import Figure

    earned = table.assign(share=table["earned"] / table["points"]).pivot_table(
        "share", "student", "check", sort=False
    )
    earned = earned.loc[earned.mean(axis=1).sort_values().index].head(most)
    figure = Figure(figsize=(1.5 + 0.3 * earned.shape[1], 2 + 0.2 * len(earned)), layout="constrained")
    axes = figure.subplots()
    axes.imshow(earned.to_numpy(), vmin=0, vmax=1, cmap="Blues", aspect="auto")
    axes.set_facecolor("#b0b0b0")  # it shows where there is no value
    axes.set_title("dark: earned; light: not; grey: not handed in", fontsize=8, loc="left")
    axes.set_xticks(range(earned.shape[1]), list(earned.columns), rotation=90, fontsize=7)
    axes.set_yticks(range(len(earned)), list(earned.index), fontsize=7)
    first = stuck(table).head(10)
    lines = [f"{r.student} at {r.first} ({r.open} open)" for r in first.itertuples()]
    return figure, f"Who is stuck where: {', '.join(lines) or 'nobody'}."
