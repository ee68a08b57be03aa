# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   labkit:
#     lab: lab10
#     needs: [logits, score, schema]
# ---

# %% [markdown]
# # Lab 10 · Evaluation
#
# **What you will build.** The instruments that tell whether an agent works, what it costs, and whether the last change made it worse: a check of end states, percentiles, an interval, a paired test, a gate
# for CI, a price, and a count of what is lost when a server dies. You write each by hand. Then you take the promises that are made for small models, and measure them.
#
# | | |
# | --- | --- |
# | **Time** | 60 to 90 minutes |
# | **You need** | lab 05 (tool calls) and lab 06 (the support desk); Python lists and dicts |
# | **You do not need** | statistics, a GPU, an account, an API key, or the network |
# | **Points** | 20: seven checks (17) and one written question (3) |

# %% [markdown]
# **After this lab you can**
#
# 1. write a suite: cases whose outcome a program checks;
# 2. report latency by percentiles, and say what a percentile of few values is worth;
# 3. put an interval around a share, and know when the interval lies;
# 4. compare two configurations case by case, and tell noise from change;
# 5. stop a regression with a gate in CI;
# 6. compute what a thousand requests cost, and name every assumption in it;
# 7. kill a server in the middle of a run, and count what was lost.

# %% [markdown]
# **How this lab works.** Run the cells from top to bottom with Shift+Enter. Seven exercises, each with a check below it. If something is
# broken beyond repair, `labkit reset lab10` in a terminal lays a fresh copy beside yours.

# %%
import copy
import json
import math
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

import labkit
from labkit import Client, check, desk, evaluate
from labkit.backends.failover import FailoverBackend
from labkit.bench import compare
from labkit.bench.figures import share
from labkit.config import settings
from labkit.errors import BackendUnavailable
from labkit.evaluate import Case, Suite, says

model = labkit.load()
FOLDER = Path(tempfile.mkdtemp(prefix="lab10-"))

# %% [markdown]
# ## 1 · A case has a check
#
# "It looks good to me" is not a measurement. Tomorrow it looks different, to somebody else it does too, and nobody looks at request 200. A **case** is one task with a **check**: a function
# that looks at what came out and returns why it is not right, or an empty text. A **suite** is a list of cases. Here is one:

# %%
harbour = Suite(
    "harbour",
    [
        Case("opposite", "What is the opposite of hot?", says("cold")),
        Case("sum", "How much is 17 + 25? Answer with a number.", says("42")),
        Case("planet", "Which planet is the largest?", says("Jupiter")),
    ],
)

# %% [markdown]
# `says("cold")` makes such a check: it looks for the word. What is measured is called the **system**: a function of a client and of what the case gives. Here it is the model alone:


# %%
def ask(client, words):
    """The system that is measured: the model alone."""
    return client.complete(words, max_tokens=24).text


for result in evaluate.run(harbour, ask, model).results:
    print(
        f"{result.case:8} {result.outcome:10} {result.seconds:5.2f} s  {result.reason}"
    )

# %% [markdown]
# ![From left to right: a suite, cases with a check each, goes through two systems, the one before a change and the one after it. Each leaves a run: one row for each case with completed, failed or lost, seconds and tokens. The two runs go, case by case, into a comparison, and that ends in one of three: a drop, exit code 1; no significant change; too few cases to tell.](images/lab10_suite.svg)
#
# `run` gives the system a client that counts requests and tokens. Every case ends in one of three ways: **completed**; **failed**, there was a result but not the right one; **lost**, there was none, because something raised.
# One lost case does not end the run.
#
# How good is a check that looks for a word? Read the whole answer about the planet:

# %%
print(ask(model, "Which planet is the largest?"))

# %% [markdown]
# A check for a word is cheap, and it can be fooled: "It is not Jupiter" says Jupiter, too. For an agent there is something better, the **state** that it leaves behind. Whether a ticket
# was opened is a row in a database; no wording can fake it.

# %% [markdown]
# ### Exercise 1 · A verdict (2 points)
#
# The agent has worked at the desk. You know which rows are new, and what it said. Compare both with what was expected. A row that nobody wanted is the worst: it is reported first.


# %% nbgrader={"schema_version": 3, "grade": false, "solution": true, "locked": false, "task": false, "grade_id": "verdict"}
def verdict(rows, facts, new_rows, answer):
    """Why a case is not completed, or "".

    rows: list of dicts, the rows that should be new; each names only some of its columns.
    facts: list of str; each should stand in the answer; "friday" and "Friday" are the same.
    new_rows: list of dicts, the rows that are new.
    answer: str, what the agent said last.
    Take the expected rows in order. Each is met by the first new row that meets no other
    one yet and has the same value in every column that the expected row names.
    Returns "wrong row" if a new row is left that meets no expected one; else "missing row"
    if an expected row is not met; else "missing fact" if a fact is not in the answer;
    else "". The lists that come in are not changed.
    """
    ### BEGIN SOLUTION
    left, unmet = list(new_rows), 0
    for wanted in rows:
        fitting = [row for row in left if wanted.items() <= row.items()]
        if fitting:
            left.remove(fitting[0])
        else:
            unmet += 1
    if left:
        return "wrong row"
    if unmet:
        return "missing row"
    unsaid = [fact for fact in facts if fact.lower() not in answer.lower()]
    return "missing fact" if unsaid else ""
    ### END SOLUTION


# %% nbgrader={"schema_version": 3, "grade": true, "solution": false, "locked": true, "task": false, "grade_id": "lab10-verdict", "points": 2}
with check(
    "lab10-verdict",
    hint="Make a copy of new_rows, and take out of it what meets an expected row.",
) as expect:
    wanted = [{"order_id": 20033, "day": "Friday"}]
    made = [{"id": 7, "order_id": 20033, "day": "Friday"}]
    expect.equal(verdict(wanted, ["friday"], made, "On Friday."), "", "as expected")
    expect.equal(verdict([], [], [], ""), "", "nothing expected, nothing done")
    expect.equal(verdict(wanted, [], [], "Done!"), "missing row", "only words")
    expect.equal(verdict([], [], made, "Done!"), "wrong row", "nobody asked for it")
    expect.equal(verdict(wanted, [], made + made, ""), "wrong row", "done twice")
    monday = [{"id": 7, "order_id": 20033, "day": "Monday"}]
    expect.equal(verdict(wanted, [], monday, ""), "wrong row", "on another day")
    nobody = [{"email": None}]
    expect.equal(verdict(nobody, [], made, ""), "wrong row", "it has no such column")
    got = verdict(wanted, ["Friday", "10:00"], made, "On Friday.")
    expect.equal(got, "missing fact", "half of the answer")

# %% [markdown]
# labkit's own is `desk.cases.judge`. It does the same on whole databases, and compares every table before and after.
#
# Now the agent of lab 06, on requests whose end states are known. Five have to do here, each of another kind. They were picked because they are quick: no document is read for them.

# %%
requests = evaluate.desk_suite()
QUICK = ("order_status", "ticket_by_email", "callback", "unknown_id", "out_of_scope")
few = Suite("desk", [c for c in requests.cases if c.id in [f"{k}_1" for k in QUICK]])
kinds = {case.kind for case in requests.cases}
print(f"{len(requests.cases)} requests of {len(kinds)} kinds; here {len(few.cases)}")

# %% [markdown]
# First one visit alone. `at_desk` gives every visit a desk of its own:

# %%
cold = evaluate.run(few.sample(1), evaluate.at_desk(), model, label="cold")
print(f"{cold.results[0].case}: {cold.results[0].seconds:.2f} s")

# %% [markdown]
# Then all five, the same one again among them:

# %%
visits = evaluate.run(few, evaluate.at_desk(), model, label="warm")
rows = pd.DataFrame([result.model_dump() for result in visits.results])
rows[["case", "outcome", "seconds", "model_calls", "tool_calls", "reason"]]

# %% [markdown]
# How to read it: find the first visit in the table. It is the same request, and now it is faster: the first time the model read the tools and their examples, and it keeps them in its cache (lab 06). A service has such a request after each start.
# So say whether your figures are *cold* or *warm*, and do not throw the cold ones away in silence. What follows is warm.

# %% [markdown]
# ## 2 · Latency is not one number
#
# The mean of the column `seconds` is a time that nobody waited, and one slow visit moves it. Ask instead: *how long do 9 of 10 users wait at most?* That is the 90th **percentile**, p90. The median is p50.
#
# The oldest definition is the **nearest rank**: sort; take the smallest value with at least p percent of all values at or below it. It is always a time that really occurred.

# %% [markdown]
# ### Exercise 2 · Percentiles (2 points)
#
# Write the definition as a function. NumPy has nine others, so the check asks it for this one by its name there, `inverted_cdf`.


# %% nbgrader={"schema_version": 3, "grade": false, "solution": true, "locked": false, "task": false, "grade_id": "percentile"}
def percentile(values, p):
    """The nearest-rank percentile.

    values: list of numbers, not empty, in any order; it is not changed.
    p: number, above 0 and at most 100.
    Returns the smallest of the values for which at least p percent of all values are
    smaller or equal.
    """
    ### BEGIN SOLUTION
    rank = math.ceil(p * len(values) / 100)
    return sorted(values)[rank - 1]
    ### END SOLUTION


# %% nbgrader={"schema_version": 3, "grade": true, "solution": false, "locked": true, "task": false, "grade_id": "lab10-percentile", "points": 2}
with check(
    "lab10-percentile",
    hint="How many values must be at or below it? Round that up: it is a rank, and ranks begin at 1.",
) as expect:
    waits = [3.0, 1.0, 2.0, 10.0]
    expect.equal(percentile(waits, 50), 2.0, "p50 of four")
    expect.equal(percentile(waits, 75), 3.0, "p75 of four")
    expect.equal(percentile(waits, 76), 10.0, "p76 of four")
    expect.equal(percentile([5.0], 99), 5.0, "p99 of one")
    expect.equal(waits, [3.0, 1.0, 2.0, 10.0], "your list, untouched")
    many = [float(x) for x in np.random.default_rng(0).exponential(1.0, 200)]
    for p in (50, 90, 95, 99):
        theirs = np.percentile(many, p, method="inverted_cdf")
        expect.close(percentile(many, p), theirs, f"p{p}, NumPy's")

# %% [markdown]
# What is p95 of five values? The slowest of them. What is p99 of 50? The slowest as well. Below 100 / (100 - p) values a percentile is only a fancy name for the maximum.
#
# And how sure is p90 of the visits above? labkit's figures come with an interval; the next section shows how it is made. (labkit draws a line between neighbours, as NumPy does unless told otherwise. So its p90 may be a time *between* two of the table, where yours is one of the table.)

# %%
for f in visits.figures():
    if f.name.endswith("_s") and f.low is not None:
        told = f"{f.value:6.2f} s   {f.low:6.2f} to {f.high:6.2f}   n = {f.n}"
        print(f"{f.name:12} {told}")

# %% [markdown]
# ## 3 · How sure is a share?
#
# Say that six of eight requests completed: 75%. Had the customers of that morning asked *other* things, it might have been five or seven. The suite is a sample, and the share of a sample has **noise**.
#
# How much? The **bootstrap** (Efron, 1979) asks the sample itself: draw eight results from your eight *with repetition*, so that some come twice and some not at all. Compute the share of that. Do it 2,000 times. Where
# the middle 95% of these shares lie is the interval.

# %% [markdown]
# ### Exercise 3 · A bootstrap by hand (3 points)
#
# Your function gets the draws, so that its result is the same each time. `draw`, below it, makes 2,000 of them.


# %% nbgrader={"schema_version": 3, "grade": false, "solution": true, "locked": false, "task": false, "grade_id": "interval"}
def interval(hits, draws):
    """The 95% bootstrap interval of a share.

    hits: list of bool, one for each case.
    draws: list of lists of int: for each resample the places in hits that were drawn.
    For each draw, take the share of hits among its places. Returns the 2.5th and the
    97.5th nearest-rank percentile of these shares, as a tuple.
    """
    ### BEGIN SOLUTION
    shares = [sum(hits[i] for i in draw) / len(draw) for draw in draws]
    return percentile(shares, 2.5), percentile(shares, 97.5)
    ### END SOLUTION


# %%
def draw(n, times=2000):
    """Places for so many resamples of n cases, the same each time."""
    return np.random.default_rng(0).integers(0, n, (times, n)).tolist()


# %% nbgrader={"schema_version": 3, "grade": true, "solution": false, "locked": true, "task": false, "grade_id": "lab10-interval", "points": 3}
with check(
    "lab10-interval",
    hint="A draw such as [0, 0, 3] means: hits[0], hits[0] again, and hits[3]. Take your percentile of exercise 2.",
) as expect:
    two = [True, False]
    expect.equal(interval(two, [[0, 0]]), (1.0, 1.0), "one draw")
    expect.equal(interval(two, [[0, 0], [1, 1], [0, 1]]), (0.0, 1.0), "three draws")
    steps = [[0] * k + [1] * (40 - k) for k in range(1, 41)]
    expect.close(interval(two, steps), (1 / 40, 39 / 40), "forty draws, forty shares")
    forty = [True] * 30 + [False] * 10
    theirs = share("forty", forty)
    expect.close(
        interval(forty, draw(40)), (theirs.low, theirs.high), "labkit", tolerance=0.051
    )
    for n in (8, 40, 400):
        low, high = interval([True] * (n * 3 // 4) + [False] * (n // 4), draw(n))
        print(f"75% of {n:3} cases: {100 * low:.0f}% to {100 * high:.0f}%")

# %% [markdown]
# How to read it: with 8 cases, 75% means "somewhere between poor and nearly perfect". Ten times the cases make the interval about three times narrower ($1 / \sqrt{n}$).
#
# And where it lies: what is the bootstrap interval of 8 hits out of 8? All resamples are hits, so it is "100% to 100%". That is no certainty, only a sample with nothing in it to resample.
# Wilson's interval (1927) does not have this flaw:

# %% tags=["nbval-check-output"]
for n in (5, 8, 40):
    f = share("x", [True] * n)
    low, high = compare.wilson(n, n)
    print(
        f"{n:2} of {n:2}: bootstrap {f.low:.0%} to {f.high:.0%}, Wilson {low:.0%} to {high:.0%}"
    )

# %% [markdown]
# **The first promise**: "small models cover 70-80% of agent tasks". Your run says:

# %%
done = list(visits.outcomes.values())
low, high = compare.wilson(sum(done), len(done))
print(
    f"{sum(done)} of {len(done)} end states reached; {low:.0%} to {high:.0%} by Wilson"
)

# %% [markdown]
# Is "70-80%" inside? Then you have not confirmed it: nearly everything is inside. Is it outside? Then ask *which tasks*. There is no share of "agent tasks" as such: the customers' next requests are other ones, and
# these here were known to those who wrote the agent (lab 06). Worse, this lab picked the quick ones, and who picks the cases picks the share. `labkit bench agent` in a terminal runs all 60, in some minutes. Only cases that nobody had seen before the system was finished can tell about next week.

# %% [markdown]
# ## 4 · Two configurations, case by case
#
# Does the model help at all? In lab 05 a tool call came about in two parts: the words of the request give evidence, and the model decides by its scores. Leave the model out, and the words decide alone. That costs nearly nothing; so all 40
# cases of lab 05 can run:

# %%
calls = evaluate.tool_suite()
words_alone = evaluate.with_strategy("text_only")
alone = evaluate.run(calls, words_alone, model, label="words alone")
f = alone.figures()[0]
print(f"words alone: {f.value:.0%} ({f.low:.0%} to {f.high:.0%}) of {f.n}")

# %% [markdown]
# With the model a case takes much longer, so four quick ones have to do here. `choose_fill` is the way of lab 05:

# %%
FOUR = ("simple_01", "simple_05", "simple_09", "simple_11")
four = Suite("tools", [case for case in calls.cases if case.id in FOUR])
choose_fill = evaluate.with_strategy("choose_fill")
with_model = evaluate.run(four, choose_fill, model, label="with the model")

# %%
for case, done in with_model.outcomes.items():
    print(f"{case}  alone: {alone.outcomes[case]!s:5}  with the model: {done}")
for r in (alone, with_model):
    print(f"{r.label}: {np.mean(list(r.latencies.values())):.3f} s a case")

# %% [markdown]
# Never compare such runs by their shares alone: "67% of these, 83% of those". Some cases are easy, whoever tries; that is noise which both runs share, and which you can throw out. Look only at the cases that **changed**:
#
# - *lost*: completed before, not completed after;
# - *gained*: the other way round.
#
# (So *lost* has a second meaning here. In section 1 it was a case without a result.)
#
# If nothing really changed, each of these was a coin flip. With 6 lost and 0 gained: six times heads, or six times tails, happens in $2 \cdot (1/2)^6 = 3\%$ of all such experiments. This is **McNemar's test** (1947), in its exact form:
#
# $$p = \min\left(1,\; 2 \sum_{k=0}^{\min(lost,\,gained)} \binom{n}{k} \Big/ 2^n\right), \qquad n = lost + gained$$

# %% [markdown]
# ### Exercise 4 · A paired test (3 points)


# %% nbgrader={"schema_version": 3, "grade": false, "solution": true, "locked": false, "task": false, "grade_id": "paired"}
def paired(before, after):
    """Which cases changed, and how likely chance alone changes them so unevenly.

    before, after: dict, for each case whether it was completed. A case that only one of
    them has does not count.
    Returns a tuple: how many were lost, how many were gained, and the p-value (float) of
    the formula above; 1.0 if none changed.
    """
    ### BEGIN SOLUTION
    both = [case for case in before if case in after]
    lost = sum(before[case] and not after[case] for case in both)
    gained = sum(after[case] and not before[case] for case in both)
    n = lost + gained
    tail = sum(math.comb(n, k) for k in range(min(lost, gained) + 1))
    return lost, gained, min(1.0, 2 * tail / 2**n)
    ### END SOLUTION


# %% nbgrader={"schema_version": 3, "grade": true, "solution": false, "locked": true, "task": false, "grade_id": "lab10-paired", "points": 3}
with check(
    "lab10-paired",
    hint="math.comb(n, k) is the binomial coefficient. Mind the + 1 of the sum's end.",
) as expect:
    old = {"a": True, "b": True, "c": False, "d": False, "only old": True}
    new = {"a": True, "b": False, "c": True, "d": False, "only new": True}
    lost, gained, p = paired(old, new)
    expect.equal((lost, gained), (1, 1), "lost, gained")
    expect.close(p, 1.0, "one each: nothing speaks against chance")
    expect.equal(paired(old, old), (0, 0, 1.0), "the same run twice")
    yes, no = dict.fromkeys(range(6), True), dict.fromkeys(range(6), False)
    expect.close(paired(yes, no)[2], 2 / 64, "six lost")
    expect.close(paired(no, yes)[2], 2 / 64, "six gained")
    for lost, gained in ((1, 0), (9, 3), (2, 12)):
        old = {i: i < lost for i in range(lost + gained)}
        new = {i: not done for i, done in old.items()}
        theirs = compare.mcnemar(lost, gained)
        expect.close(paired(old, new)[2], theirs, f"labkit's p, {lost} and {gained}")
    mine = paired(alone.outcomes, with_model.outcomes)
    print("words alone, then with the model: lost, gained, p =", mine)

# %% [markdown]
# How to read it: even if the model had gained *all* four cases, p would be $2 \cdot (1/2)^4$, more than 12%. At least six must change, all in one direction, before p is below 5%. The model may well help; this run
# cannot say so. That is a finding, too: **too few cases to tell**. (All 40 take a minute or more: run `calls` in the place of `four`.)
#
# What noise is there between two runs of the *same* configuration? The words alone decide the same way each time, so the outcomes have none. But the times differ:

# %%
again = evaluate.run(calls, words_alone, model, label="words alone, again")
for change in compare.compare_runs(alone, again).changes:
    print(f"{change.name}: {change.word} ({change.why})")

# %% [markdown]
# How to read it: no case changed, and still "a drop of up to 9 points cannot be excluded". The 40 cases are a sample: among other requests, up to 9 of 100 might be lost and none of these shows it.
# The seconds are another matter: the code is the same, so whatever the second line says, the machine did it.

# %% [markdown]
# ## 5 · Catch a regression
#
# A colleague wants to save tokens. "The descriptions of the tools are much too long; one word will do." First for the tools, then for their parameters, too. The change is small, it looks reasonable, and nothing crashes.
# (Again with the words alone, so that all cases can run.)


# %%
def shortened(function, parameters):
    """The same function with a description of one word."""
    function = copy.deepcopy(function)
    function["description"] = function["description"].split()[0]
    if parameters:
        for about in function["parameters"]["properties"].values():
            about.pop("description", None)
    return function


def tidied(parameters):
    """Words alone, on functions with shortened descriptions."""

    def system(client, case):
        functions = tuple(shortened(f, parameters) for f in case.functions)
        return words_alone(client, replace(case, functions=functions))

    return system


# %%
once = evaluate.run(calls, tidied(parameters=False), model, label="tools shortened")
twice = evaluate.run(calls, tidied(parameters=True), model, label="all shortened")
for r in (alone, once, twice):
    print(f"{r.label:16} {sum(r.outcomes.values())} of {len(r.outcomes)} completed")

# %% [markdown]
# A gate decides whether that may go in. It needs three answers, not two. "Not significant" does *not* mean "nothing happened": with five cases nothing is ever significant, and such a gate lets everything through.
# So ask also: how large a drop could have been missed? Take the share of lost cases, at the upper end of its Wilson interval: those were the 9 points above, for 0 of 40. If that is above what you tolerate, the suite is too small.

# %% [markdown]
# ### Exercise 5 · A gate (3 points)


# %% nbgrader={"schema_version": 3, "grade": false, "solution": true, "locked": false, "task": false, "grade_id": "gate"}
def gate(before, after, tolerated=0.1):
    """Whether a change may go in, and why.

    before, after: dicts as in exercise 4.
    tolerated: float, the drop of the share that you can live with.
    Returns a tuple of an exit code and a word, by the first of these that holds:
    - no case is in both: raises ValueError;
    - p is below 0.05 and more were lost than gained: 1, "drop";
    - p is below 0.05: 0, "better";
    - the upper end of compare.wilson(lost, n) is above tolerated, where n is the number
      of cases that are in both: 0, "too few cases";
    - else: 0, "no significant change".
    """
    ### BEGIN SOLUTION
    n = len(before.keys() & after.keys())
    if n == 0:
        raise ValueError("no case in common")
    lost, gained, p = paired(before, after)
    if p < 0.05:
        return (1, "drop") if lost > gained else (0, "better")
    if compare.wilson(lost, n)[1] > tolerated:
        return 0, "too few cases"
    return 0, "no significant change"
    ### END SOLUTION


# %% nbgrader={"schema_version": 3, "grade": true, "solution": false, "locked": true, "task": false, "grade_id": "lab10-gate", "points": 3}
with check(
    "lab10-gate",
    hint="Call paired. compare.wilson(lost, n) returns two numbers: you need the second.",
) as expect:
    yes, no = dict.fromkeys(range(60), True), dict.fromkeys(range(60), False)
    expect.equal(gate(yes, no), (1, "drop"), "all lost")
    expect.equal(gate(no, yes), (0, "better"), "all gained")
    expect.equal(gate(yes, yes), (0, "no significant change"), "60 cases, the same")
    few = dict.fromkeys(range(9), True)
    expect.equal(gate(few, few), (0, "too few cases"), "9 cases, the same")
    expect.equal(gate(yes, few), (0, "too few cases"), "only 9 of 60 are in both")
    expect.equal(gate(few, few, tolerated=0.5)[1], "no significant change", "50 points")
    expect.raises(ValueError, lambda: gate({"a": True}, {"b": True}), "nothing shared")
    three = {**yes, 0: False, 1: False, 2: False}
    expect.equal(gate(yes, three), (0, "too few cases"), "3 of 60 lost")
    expect.equal(gate(three, yes), (0, "no significant change"), "3 of 60 gained")
    for r in (again, once, twice):
        theirs = compare.compare_runs(alone, r).changes[0].word
        mine = gate(alone.outcomes, r.outcomes)
        print(f"{r.label:18} yours: {mine}; labkit: {theirs}")

# %% [markdown]
# How to read it: where a line says "too few cases", some cases may be lost, and the gate lets the change in all the same. It cannot tell. Only the word shows that, not the exit code.

# %% [markdown]
# ### The gate in a terminal
#
# Runs are kept as JSON, and `labkit bench compare` is the gate of exercise 5 with some more: it names the broken cases, compares times on the same machine, and also takes the files of `labkit bench NAME --json FILE`, which have no cases.

# %%
alone.save(FOLDER / "before.json")
twice.save(FOLDER / "after.json")
command = [sys.executable, "-m", "labkit", "bench", "compare"]
outcome = subprocess.run(
    [*command, FOLDER / "before.json", FOLDER / "after.json"],
    capture_output=True,
    text=True,
)
print(outcome.stdout + outcome.stderr)
print("exit code:", outcome.returncode)

# %% [markdown]
# How to read it: the first line is about the outcomes, the second about the times. A gate that looks at the times alone never sees that cases were lost.
#
# In CI an exit code other than 0 stops the change. In GitHub Actions, for instance, with a script of yours that runs the suite and calls `save`:
#
# ```yaml
# - name: Measure
#   run: python evaluate_agent.py --save after.json
# - name: Compare with the main branch
#   run: labkit bench compare before.json after.json
# ```
#
# `before.json` comes from the main branch, made on the *same kind of machine*, and it is only replaced when a change was accepted. Three habits keep a gate honest:
#
# - **Look at the words, not only at the colour.** "Too few cases to tell" passes. Let it print.
# - **One question.** With 20 figures at p < 5%, one of them cries wolf every time on average. Let the gate hang on the few that matter.
# - **Keep some cases back.** A suite that everybody tunes against measures the tuning.

# %% [markdown]
# ## 6 · What it costs
#
# **The second promise**: "10 to 30 times cheaper". Than what? A price needs a date, a currency and a source. This course brings a table with **examples**, so that you see the form. Put in your own.

# %%
prices = evaluate.Prices.load()
print(prices.age())
for name, price in prices.models.items():
    told = f"read {price.input:g}, cached {price.cached:g}, written {price.output:g}"
    print(f"{name:22} {prices.currency} for a million tokens: {told}")
m = prices.machine
print(f"a machine of your own: {m.price:g} {prices.currency} for {m.years:g} years;")
print(f"{m.watts:g} W while it works, {m.kwh:g} {prices.currency} for a kilowatt-hour")

# %% [markdown]
# ### Exercise 6 · The price of tokens (2 points)


# %% nbgrader={"schema_version": 3, "grade": false, "solution": true, "locked": false, "task": false, "grade_id": "price"}
def price_per_thousand(usage, price):
    """What a thousand requests cost.

    usage: list of dicts, one for each request that was measured, not empty, with "prompt" (prompt
    tokens, the cached ones included), "cached" (those of them in the cache) and "written".
    price: dict with "input", "cached" and "output": money for a million tokens; a prompt token
    costs "cached" if it was in the cache, else "input".
    Returns the mean price of a request, times 1000.
    """
    ### BEGIN SOLUTION
    total = 0.0
    for used in usage:
        fresh = used["prompt"] - used["cached"]
        total += fresh * price["input"] + used["cached"] * price["cached"]
        total += used["written"] * price["output"]
    return 1000 * total / len(usage) / 1e6
    ### END SOLUTION


# %% nbgrader={"schema_version": 3, "grade": true, "solution": false, "locked": true, "task": false, "grade_id": "lab10-price", "points": 2}
with check(
    "lab10-price",
    hint="prompt - cached tokens are read at the full price. Divide by the number of requests.",
) as expect:
    price = {"input": 2.0, "cached": 1.0, "output": 10.0}
    one = {"prompt": 1000, "cached": 0, "written": 100}
    expect.close(price_per_thousand([one], price), 3.0, "one request")
    expect.close(price_per_thousand([one, one], price), 3.0, "two of the same")
    warm = {"prompt": 1000, "cached": 800, "written": 100}
    expect.close(price_per_thousand([warm], price), 2.2, "most of it cached")
    expect.close(price_per_thousand([one, warm], price), 2.6, "one of each")
    name = "example: large model"
    theirs = 1000 * prices.tokens(name, 1000, 800, 100)
    mine = price_per_thousand([warm], prices.models[name].model_dump())
    expect.close(mine, theirs, "labkit's")

# %% [markdown]
# What would a hosted model read for the visits of section 1? No hosted model is asked here, so that is an **estimate**: one request for each tool call and one for the answer, each with the tools' schemas and the customer's words, counted
# with the tokenizer of *this* model; 30 tokens written for a call and 40 for the answer, both assumed; and the schemas in the provider's cache from the second request on.

# %%
shop = desk.Desk(desk.build(FOLDER / "desk.db")).tools()
schemas = len(model.tokenize(json.dumps(shop.to_openai())))
given = {case.id: case.given.turns for case in requests.cases}
usage = []
for r in visits.results:
    said = len(model.tokenize(" ".join(given[r.case])))
    asked = r.tool_calls + 1
    prompt = asked * (schemas + said)
    cached, written = r.tool_calls * schemas, r.tool_calls * 30 + 40
    usage.append({"prompt": prompt, "cached": cached, "written": written})
print(f"the schemas of six tools: {schemas} tokens")

# %% [markdown]
# And your own machine? It costs its price, whether it works or not, and electricity while it works. So the cost of one request depends on **how many there are**:

# %%
seconds = float(np.mean([r.seconds for r in visits.results]))
PER_DAY = (100, 1000, 10_000)
for per_day in PER_DAY:
    hours = per_day * seconds / 3600
    print(f"{per_day:6} a day keep this machine busy for {hours:.2f} hours")

# %% [markdown]
# `busy_share` is the part of the day in which the machine works. The price of the machine is spread over that part alone:


# %%
def this_machine(per_day):
    """What a thousand requests cost on this machine, if so many come a day."""
    busy = min(1, per_day * seconds / 86_400)
    machine = prices.machine.model_copy(update={"busy_share": busy})
    return prices.model_copy(update={"machine": machine}).own_machine(visits)


print(this_machine(100).basis)

# %%
table = {"this machine": [this_machine(n).per_thousand for n in PER_DAY]}
for name in prices.models:
    each = [1000 * prices.tokens(name, **used) for used in usage]
    table[name] = [float(np.mean(each))] * len(PER_DAY)
costs = pd.DataFrame(table, index=PER_DAY).T
print(f"{prices.currency} for 1000 requests, by requests a day:")
costs.round(3)

# %% [markdown]
# How many times the price of this machine is each of these?

# %%
(costs / costs.loc["this machine"]).round(2)

# %% [markdown]
# How to read it: look for "10 to 30" in the last table. It may be there. (Leave out a column that would need more than 24 hours a day: one machine cannot do that.) "10 to 30" is not a property of small models; it is a quotient of two assumptions: which model you compare with, and how busy your machine is. Where a quotient is below 1, the hosted model is the *cheaper* one. And none of these lines asks whether
# both do the work equally well, nor what an hour of your care for the machine costs.
#
# **The third promise**: "in under a second". And what the run used: prompt tokens that were in no cache, the largest memory of the process, seconds of the processor, and energy.

# %%
USED = ("under_a_second", "tokens_read", "peak_rss", "cpu_s", "energy")
for f in visits.figures():
    if f.name.endswith(USED):
        about = f"{f.low:.2f} to {f.high:.2f}" if f.low is not None else ""
        print(f"{f.name:22} {f.value:8.2f} {f.unit:12} {about}")
print("energy:", visits.resources.energy_note)

# %% [markdown]
# Under a second on *this* machine, with *this* load, for *this* agent; the same code on a phone or beside a browser says something else. Energy is only there where the system shows a counter (Linux on Intel or AMD, and mostly for the administrator only). Where it does not, the table
# above took the watts of the price table: an assumption, and it says so.

# %% [markdown]
# ## 7 · Pull the plug
#
# "It goes on working without the network" is easily said. So try: start a server, put it first, put the embedded model behind it (lab 04), and take it away **in the middle of an answer**: once by cutting the way to it, once by killing its process.
#
# ![A time line of six requests. The first two are answered by a server. In the third, after its first piece, the process is killed: this one is lost. The fourth asks the server, which does not answer, and goes over to the embedded model at once; so do the fifth and the sixth. Below: half an answer is never continued by another model.](images/lab10_offline.svg)

# %% [markdown]
# The suite asks for one answer in a fixed form. Its check looks at the form only:

# %%
PLACES = ("Oslo", "Cairo", "Lima", "Tokyo", "Rome", "Nairobi")
CONTINENTS = ["Africa", "America", "Asia", "Europe"]
SCHEMA = {
    "type": "object",
    "properties": {"continent": {"enum": CONTINENTS}},
    "required": ["continent"],
    "additionalProperties": False,
}


def well_formed(text):
    """A check: only the form. Which continent it is does not matter here."""
    try:
        return "" if json.loads(text)["continent"] in CONTINENTS else "no continent"
    except (ValueError, KeyError, TypeError):
        return "no JSON of that form"


places = Suite("offline", [Case(p, f"Where is {p}?", well_formed) for p in PLACES])


def locate(client, words):
    """The system: one answer in a fixed form."""
    return client.complete(words, schema=SCHEMA, max_tokens=40).text


# %% [markdown]
# Now the server. (Where its packages are not installed, the cells of this section show nothing, and the exercise works all the same.)

# %%
server = evaluate.FarServer("smollm2-135m", settings(context=1024))
try:
    server.load()
    print(server.name, "runs as a process of its own:", server.health().ok)
except BackendUnavailable as error:  # its packages are not installed
    print(error)
    server = None


# %% [markdown]
# `disturb` names a case and a function. It is called when the first piece of that case's answer has come:


# %%
def pull_plug(act, system=locate):
    """Run the suite; act in the middle of Lima's answer. None if there is no server."""
    if server is None:
        return None
    server.mend()
    both = Client(FailoverBackend([server, model.backend], settings()))
    return evaluate.run(places, system, both, label=act.__name__, disturb=("Lima", act))


def show(r):
    """One line for each case."""
    for x in r.results if r else ():
        took = f"{x.seconds:5.2f} s by {x.backend.partition(':')[0]}"
        print(f"{x.case:8} {x.outcome:10} {took:24} {x.reason[:70]}")


# %% [markdown]
# First only the way to it is cut. The server goes on, and nothing reaches it:


# %%
def cut():
    """The network is gone."""
    server.cut()


cut_run = pull_plug(cut)
show(cut_run)

# %% [markdown]
# One request was lost, the one that was half answered. labkit never lets another model continue half an answer, so the honest result is an error. A program that can ask again (no row was written, no
# mail was sent) loses nothing:


# %%
def patient(client, words):
    """Ask once more if an answer breaks off."""
    try:
        return locate(client, words)
    except labkit.errors.BackendError:
        return locate(client, words)


show(pull_plug(cut, system=patient))

# %% [markdown]
# Now the process itself. After this there is no server any more:


# %%
def kill():
    """As if somebody had pulled the plug."""
    server.kill()


killed_run = pull_plug(kill)
show(killed_run)
if server:
    print(server.name, "runs:", server.health().ok)
    server.close()

# %% [markdown]
# ### Exercise 7 · What was lost? (2 points)


# %% nbgrader={"schema_version": 3, "grade": false, "solution": true, "locked": false, "task": false, "grade_id": "reliability"}
def reliability(results, at):
    """What an interruption cost.

    results: list of dicts in the order in which the cases ran, each with "case" and "outcome"
    ("completed", "failed" or "lost").
    at: str, the case in whose middle it happened.
    Returns a dict with
    - "lost": how many cases are lost, from that case on (it included);
    - "kept": the share of completed ones among the cases after it (it excluded); None if
      there is none;
    - "recovered_after": how many cases after it the first completed one came (1 for the
      very next one); None if none came.
    """
    ### BEGIN SOLUTION
    place = [r["case"] for r in results].index(at)
    after = [r["outcome"] == "completed" for r in results[place + 1 :]]
    return {
        "lost": sum(r["outcome"] == "lost" for r in results[place:]),
        "kept": sum(after) / len(after) if after else None,
        "recovered_after": after.index(True) + 1 if True in after else None,
    }
    ### END SOLUTION


# %% nbgrader={"schema_version": 3, "grade": true, "solution": false, "locked": true, "task": false, "grade_id": "lab10-reliability", "points": 2}
with check(
    "lab10-reliability",
    hint="Find the place of the case first; then split the list there.",
) as expect:

    def told(*outcomes):
        return [{"case": str(i), "outcome": o} for i, o in enumerate(outcomes)]

    good, bad, gone = "completed", "failed", "lost"
    got = reliability(told(good, gone, good, good), "1")
    expect.equal(got, {"lost": 1, "kept": 1.0, "recovered_after": 1}, "one lost")
    got = reliability(told(gone, gone, gone, bad, good), "1")
    expect.equal(got["lost"], 2, "the one before does not count")
    expect.close(got["kept"], 1 / 3, "a failed one is not kept")
    expect.equal(got["recovered_after"], 3, "late")
    got = reliability(told(good, gone), "1")
    expect.equal(
        got, {"lost": 1, "kept": None, "recovered_after": None}, "the last one"
    )
    for r in filter(None, (killed_run, cut_run)):
        rows = [x.model_dump() for x in r.results]
        print(f"{r.label:8}", reliability(rows, "Lima"))

# %% [markdown]
# What this does not show: a network that swallows everything **in silence**. Then nothing breaks off, and the request waits; only a time-out helps. And the embedded model is the same here as the server's. If yours is smaller,
# being offline costs quality: then run the suite of section 1 on each of the two, and compare.

# %% [markdown] nbgrader={"schema_version": 3, "grade": true, "solution": true, "locked": false, "task": false, "grade_id": "lab10-written", "points": 3}
# **Question.** A provider writes: "Our 135M agent completes **80%** of tasks, is **20 times cheaper** than a large model, and answers in **0.8 seconds**. The new version is even better: 9 of 10 in our test, up from 8 of 10."
#
# Answer in about ten sentences, with figures of *your* run where you can: (a) What must you know about the 80% and the 0.8 seconds before they mean anything? (b) On what does "20 times cheaper" depend, and how did it move in your table?
# (c) What do you say to "even better", and what would you ask them to run?
#
# ### BEGIN SOLUTION
# A good answer has these points; a point for each part.
#
# (a) Which tasks, how many, checked how (end states or words), and whether those who built it had seen them; an interval: the own run's share with its Wilson interval, which was wide. 0.8 s: mean, median or p90; cold or warm; which machine, under which load; with the own
# percentiles.
#
# (b) Two assumptions: the price of the model compared with (large or small hosted model, with or without cache, on which day) and how busy the own machine is. Own table: the quotient grows with the number of requests a day, and may be below 1 with few of them or
# against the small hosted model. Equal quality is assumed. Care of the machine is left out.
#
# (c) 8 and 9 of 10 are the same within noise: even if one case was gained and none lost, p = 1. The cases must be paired, and at least six must change in one direction before p is below 5%. Ask for the outcomes by case of both versions on the same
# suite, some 100 unseen cases or more, run through a paired test, and the drop that could have been missed.
# ### END SOLUTION

# %% [markdown]
# ## Recap
#
# - A **case has a check**; the state that is left behind says more than words.
# - **Percentiles**, not means; with few values the high ones are the maximum.
# - A share without an **interval** is a rumour. The bootstrap is blind where all cases went alike; Wilson's interval is not.
# - Compare **case by case**: only what changed counts. McNemar's test says how surprising that is.
# - A gate has **three answers**: drop, no significant change, too few cases to tell.
# - A price is **tokens or seconds times assumptions**, with a date.
# - **Pull the plug** yourself, and count.

# %% [markdown]
# ## Break it
#
# Predict first, then try. Make new cells at the end of the notebook.
#
# 1. Write five cases for something that you care about, with a check for each. Which check can be fooled, and how?
# 2. Run `requests.sample(12)` at the desk in the place of `few`: other kinds, and documents to read. What becomes of the share, of p90, and of the intervals?
# 3. Run section 4 with all 40 cases with the model. Is there a significant change now? What does it cost in seconds?
# 4. Find a change of the tools' descriptions that makes things *better*, and let the gate prove it.
# 5. Edit a saved run: a NaN, a case twice, another suite's name. What does `labkit bench compare` say?
# 6. Set your own prices, with today's date, and the requests a day that you expect. Where is break-even?
# 7. In section 7, do nothing but sleep for ten seconds in the middle of an answer. What would a user see, and what would a time-out (`timeout_s=2` in `complete`) change?

# %% [markdown]
# ## What is next
#
# **Lab 11 · Safety** measures something else: not how often the agent does what it should, but whether it can be brought to do what it must not.
