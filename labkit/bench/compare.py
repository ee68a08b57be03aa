"""``labkit bench compare A B``: what changed from one file of measurements to the next, and what is only noise.

A and B are files of ``labkit bench NAME --json FILE`` or of ``labkit.evaluate``. Where both have the outcome of every case, cases are paired:
an exact McNemar test (1947) over those that changed, and a paired bootstrap. Where they have figures only, shares are compared by
the interval of their difference (Newcombe 1998, method 10), and repeated measurements by whether their ranges overlap at all.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import TypeAdapter, ValidationError

from labkit.bench.figures import Figure, bootstrap
from labkit.errors import ConfigError
from labkit.evaluate.record import Run

LEVEL = 0.05
"""A change that chance alone brings about less often than this is significant."""
MARGIN = 0.10
"""If a drop of a share by more than this is still possible, there were too few cases to tell."""
SLOWER = 1.2
"""A time may grow by this factor before it counts as a drop: the machine's load changes, too."""
Z = 1.959964
"""Of the 95% interval."""
Word = Literal["DROP", "better", "changed", "no significant change", "too few cases to tell", "not compared"]
LOWER_UNITS = ("s", "ms", "MB", "J", "rows", "cases", "tokens/turn", "tokens/case", "calls", "calls/case")
LOWER_NAMES = (
    "lost",
    "loss",
    "false_none",
    "wrong_rows",
    "attack_points",
    "attacks",
    "unauthorised_calls",
    "ece",
)
LOWER_RATIOS = (
    "reread_ratio",
    "overhead_ratio",
    "time_ratio",
    "first_ratio",
    "first_s_ratio",
    "vs_nbgrader_ratio",
)
HIGHER_UNITS = ("share", "tokens/s")
HIGHER_NAMES = ("auc", "apgr", "decode_ratio", "prefill_ratio")


@dataclass(frozen=True)
class Change:
    """One figure, before and after.

    Attributes:
        name: The figure.
        word: What can be said about it.
        before: Its value in A.
        after: Its value in B.
        unit: Of both.
        why: The numbers behind the word.
    """

    name: str
    word: Word
    before: float
    after: float
    unit: str
    why: str


@dataclass(frozen=True)
class Comparison:
    """Two files, compared.

    Attributes:
        changes: One for each figure that both have.
        notes: What differs between the two and is no figure.
    """

    changes: tuple[Change, ...]
    notes: tuple[str, ...]

    @property
    def dropped(self) -> bool:
        """Whether any figure dropped significantly."""
        return any(change.word == "DROP" for change in self.changes)


def compare(before: Path | str, after: Path | str) -> Comparison:
    """Compare two files of measurements.

    Raises:
        ConfigError: A file cannot be read or has no such form, the two have different forms or suites, or nothing in common.
    """
    a, b = _read(Path(before)), _read(Path(after))
    if isinstance(a, Run) and isinstance(b, Run):
        return compare_runs(a, b)
    if isinstance(a, Run) or isinstance(b, Run):
        raise ConfigError(
            f"{before} and {after} are of different forms: one has cases, the other figures only.",
            "Compare two files of the same command.",
        )
    return _compare_figures(a, b)


def compare_runs(a: Run, b: Run) -> Comparison:
    """Compare two runs of one suite, case by case.

    Raises:
        ConfigError: They are of different suites, or have no case in common.
    """
    if a.suite != b.suite:
        raise ConfigError(f"{a.suite!r} and {b.suite!r} are different suites.", "Compare runs of one suite.")
    both = [case for case in a.outcomes if case in b.outcomes]
    if not both:
        raise ConfigError("The two runs have no case in common.", "Compare runs of the same cases.")
    notes: list[str] = []
    for run, other, which in ((a, b, "first"), (b, a, "second")):
        if alone := [case for case in run.outcomes if case not in other.outcomes]:
            notes.append(f"only the {which} has {len(alone)} of its cases ({', '.join(alone[:5])}): left out")
    changes = [_paired(f"{a.suite}.completed", [a.outcomes[c] for c in both], [b.outcomes[c] for c in both])]
    broken = [case for case in both if a.outcomes[case] and not b.outcomes[case]]
    if broken:
        why = {r.case: r.reason for r in b.results}
        notes += [f"no longer completed: {case}: {why[case]}" for case in broken]
    timed = [case for case in both if case in a.latencies and case in b.latencies]
    if a.machine != b.machine:
        notes.append(f"times are not compared: {a.machine!r} is another machine than {b.machine!r}")
    elif timed:
        old, new = ([run.latencies[case] for case in timed] for run in (a, b))
        changes.append(_paired_times(f"{a.suite}.seconds", old, new))
    return Comparison(tuple(changes), tuple(notes))


def mcnemar(lost: int, gained: int) -> float:
    """Exact two-sided p-value: how often chance alone splits the cases that changed at least as unevenly (McNemar 1947).

    Args:
        lost: Cases completed before and not after.
        gained: Cases completed after and not before.
    """
    n = lost + gained
    tail = sum(math.comb(n, k) for k in range(min(lost, gained) + 1))
    return min(1.0, 2 * tail / 2**n)


def wilson(hits: float, n: int) -> tuple[float, float]:
    """The 95% interval of a share (Wilson 1927); it has a width also where all or none were hits."""
    middle, spread = hits + Z * Z / 2, Z * math.sqrt(hits * (n - hits) / n + Z * Z / 4)
    return (middle - spread) / (n + Z * Z), (middle + spread) / (n + Z * Z)


def _paired(name: str, before: Sequence[bool], after: Sequence[bool]) -> Change:
    n = len(before)
    lost = sum(x and not y for x, y in zip(before, after, strict=True))
    gained = sum(y and not x for x, y in zip(before, after, strict=True))
    p = mcnemar(lost, gained)
    low, high = bootstrap([float(y) - float(x) for x, y in zip(before, after, strict=True)])
    possible = wilson(lost, n)[1]
    why = f"{n} pairs: {lost} lost, {gained} gained, p = {p:.3f}"
    if p < LEVEL:
        word: Word = "DROP" if lost > gained else "better"
        why += f"; change {_points(low)} to {_points(high)}"
    else:
        word, more = _unsure(possible)
        why += more
    return Change(name, word, sum(before) / n, sum(after) / n, "share", why)


def _unsure(possible: float) -> tuple[Word, str]:
    told = f"a drop of up to {100 * max(0.0, possible):.0f} points cannot be excluded"
    return ("too few cases to tell" if possible > MARGIN else "no significant change"), f"; {told}"


def _paired_times(name: str, before: Sequence[float], after: Sequence[float]) -> Change:
    """Each case's time over its time before; the geometric mean of these ratios, with its bootstrap interval."""
    tiny = 1e-6
    logs = [math.log(max(y, tiny) / max(x, tiny)) for x, y in zip(before, after, strict=True)]
    low, high = (math.exp(x) for x in bootstrap(logs))
    ratio = math.exp(sum(logs) / len(logs))
    why = f"{len(logs)} pairs: {ratio:.2f} times as long ({low:.2f} to {high:.2f})"
    word: Word = "no significant change"
    if mcnemar(0, len(logs)) >= LEVEL:  # not even if every case were slower
        word = "too few cases to tell"
    elif low > SLOWER:
        word = "DROP"
    elif high < 1 / SLOWER:
        word = "better"
    why += f"; a factor of {SLOWER:g} is tolerated"
    return Change(name, word, float(np.median(before)), float(np.median(after)), "s", why)


# --- figures without cases ---


def _compare_figures(before: Sequence[Figure], after: Sequence[Figure]) -> Comparison:
    old, new = ({f.name: f for f in figures} for figures in (before, after))
    both = [name for name in old if name in new]
    if not both:
        raise ConfigError("The two files have no figure in common.", "Compare files of the same bench.")
    notes = [
        f"only the {which} has: {', '.join(alone)}"
        for which, alone in (
            ("first", [name for name in old if name not in new]),
            ("second", [name for name in new if name not in old]),
        )
        if alone
    ]
    notes.append("cases are not paired: these files have figures only")
    return Comparison(tuple(_figure(old[name], new[name]) for name in both), tuple(notes))


def _figure(a: Figure, b: Figure) -> Change:
    def change(word: Word, why: str) -> Change:
        return Change(a.name, word, a.value, b.value, b.unit, why)

    if a.unit != b.unit:
        return change("not compared", f"the units differ: {a.unit} and {b.unit}")
    if a.simulated != b.simulated:
        return change("not compared", "one of them is simulated")
    if a.n < 1 or b.n < 1:
        return change("not compared", "one of them comes from no measurement")
    if a.unit == "share":
        return _shares(a, b, change)
    return _ranges(a, b, change)


def _shares(a: Figure, b: Figure, change: Callable[[Word, str], Change]) -> Change:
    if not (0 <= a.value <= 1 and 0 <= b.value <= 1):
        return change("not compared", "a share is not between 0 and 1")
    difference = b.value - a.value
    (la, ua), (lb, ub) = wilson(a.value * a.n, a.n), wilson(b.value * b.n, b.n)
    low = difference - math.hypot(b.value - lb, ua - a.value)
    high = difference + math.hypot(ub - b.value, a.value - la)
    why = f"{a.n} and {b.n} cases: change {_points(low)} to {_points(high)}"
    worse, better = (low, high) if _direction(a) >= 0 else (-high, -low)
    if low <= 0 <= high:
        word, more = _unsure(-worse)
        return change(word, why + more)
    return change(_word(a, better < 0), why)


def _ranges(a: Figure, b: Figure, change: Callable[[Word, str], Change]) -> Change:
    """Two sets of repeated measurements. By chance alone one lies wholly above the other 2 times in C(n + m, n)."""
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return change("not compared", "no spread is given, so noise cannot be told from change")
    apart = b.low > a.high or b.high < a.low
    p = 2 / math.comb(a.n + b.n, a.n)
    why = f"ranges {a.low:.3g} to {a.high:.3g} and {b.low:.3g} to {b.high:.3g}, {a.n} and {b.n} measurements"
    if p >= LEVEL:
        return change("too few cases to tell", why)
    if not apart:
        return change("no significant change", f"{why}: they overlap")
    large, small = max(abs(a.value), abs(b.value)), min(abs(a.value), abs(b.value))
    if a.unit in ("s", "ms", "tokens/s") and large < SLOWER * small:
        return change("no significant change", f"{why}; a factor of {SLOWER:g} is tolerated")
    return change(_word(a, (b.value - a.value) * _direction(a) < 0), why)


def _word(figure: Figure, worse: bool) -> Word:
    if not _direction(figure):
        return "changed"  # whether up is good is not known
    return "DROP" if worse else "better"


def _direction(figure: Figure) -> int:
    """1 where more is better, -1 where less is better, 0 where that is not known."""
    last = figure.name.rsplit(".", 1)[-1]
    if last.endswith(LOWER_NAMES) or figure.name.endswith(LOWER_RATIOS) or figure.unit in LOWER_UNITS:
        return -1
    return 1 if last.endswith(HIGHER_NAMES) or figure.unit in HIGHER_UNITS else 0


def _points(share: float) -> str:
    return f"{100 * share:+.0f} points"


# --- reading ---


def _read(path: Path) -> Run | list[Figure]:
    """A run or figures, by what the file holds."""
    try:
        text = path.read_text(encoding="utf-8")
        found: Any = json.loads(text)
    except (
        OSError,
        ValueError,
        RecursionError,
    ) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise ConfigError(
            f"{path} cannot be read as JSON: {error}.",
            "Give files of `labkit bench NAME --json FILE` or of labkit.evaluate.",
        ) from error
    if isinstance(found, dict):
        return Run.parse(text, str(path))
    return _figures(text, path)


def _figures(text: str, path: Path) -> list[Figure]:
    try:
        figures = TypeAdapter(list[Figure]).validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ConfigError(
            f"{path} holds no figures: {where}: {first['msg']}.",
            "Give files of `labkit bench NAME --json FILE` or of labkit.evaluate.",
        ) from error
    names = [figure.name for figure in figures]
    if len(set(names)) < len(names):
        twice = sorted({n for n in names if names.count(n) > 1})
        raise ConfigError(f"{path} has two figures {', '.join(twice)}.", "Run the bench again.")
    for f in figures:
        if not all(x is None or math.isfinite(x) for x in (f.value, f.low, f.high)):
            raise ConfigError(f"{path}: {f.name} is not a number.", "Run the bench again.")
    return figures
