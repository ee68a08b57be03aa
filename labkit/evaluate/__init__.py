"""Measuring what a system does: suites of cases that a program checks, runs that are kept, and what a run costs.

>>> from labkit import evaluate
>>> suite = evaluate.Suite("harbour", [evaluate.Case("market", "When does the market open?", evaluate.says("10:00", "ten"))])
>>> run = evaluate.run(suite, lambda client, words: client.complete(words).text, client)       # doctest: +SKIP
>>> run.save("before.json")                                                                    # doctest: +SKIP

``labkit bench compare before.json after.json`` tells a change from noise.
"""

from labkit.evaluate.metered import Metered
from labkit.evaluate.offline import FarServer, Link
from labkit.evaluate.prices import Prices
from labkit.evaluate.record import Resources, Result, Run
from labkit.evaluate.suite import Case, Suite, run, says
from labkit.evaluate.suites import at_desk, desk_suite, tool_suite, with_strategy

__all__ = [
    "Case",
    "FarServer",
    "Link",
    "Metered",
    "Prices",
    "Resources",
    "Result",
    "Run",
    "Suite",
    "at_desk",
    "desk_suite",
    "run",
    "says",
    "tool_suite",
    "with_strategy",
]
