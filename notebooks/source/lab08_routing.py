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
#     lab: lab08
#     needs: [score, schema, logprobs]
# ---

# %% [markdown]
# # Lab 08 · Routing
#
# **What you will build.** A router: something that looks at a request and sends it the cheap way or the dear way. First by rules, then by the small model's own doubts, turned into
# probabilities that hold what they promise. You draw the curve of quality against cost, compute the figures by which routers are compared, keep a budget, and make sure that private
# words cannot leave the machine.
#
# | | |
# | --- | --- |
# | **Time** | about two hours; section 5 ends a good first sitting |
# | **You need** | labs 01 and 05; Python functions, lists, dicts; reading a pandas table |
# | **You do not need** | a GPU, an account, an API key, the network, or a large model |
# | **Points** | 20: seven checks (17) and one written question (3) |

# %% [markdown]
# **After this lab you can**
#
# 1. say what routing can bring, and measure it instead of believing it;
# 2. write rules, and build a cascade from which a private request cannot escape;
# 3. measure how well a score predicts failure (AUC), with its uncertainty;
# 4. turn a score into a probability (isotonic regression), and test it (ECE, reliability plot);
# 5. draw the quality/cost curve, and read APGR and CPT;
# 6. keep to a budget, choose a model by task, and stay useful when the large model is down.

# %% [markdown]
# **How this lab works.** Run the cells from top to bottom with Shift+Enter. Seven exercises, each with a check below it. If something is
# broken beyond repair, `labkit reset lab08` in a terminal lays a fresh copy beside yours.

# %%
import random
import time

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.isotonic import IsotonicRegression

import labkit
from labkit import check, data, models, plots
from labkit.bench import bfcl, route_cases
from labkit.decoding import call_tools
from labkit.errors import BackendUnavailable
from labkit.evaluate import Prices
from labkit.routing import (
    Attempt,
    Budget,
    Calibration,
    Cascade,
    ClassifierRouter,
    ConfidenceRouter,
    Goal,
    LocalOnly,
    Predictor,
    Price,
    RouteRequest,
    Row,
    RuleRouter,
    State,
    TableRouter,
    holds_private_data,
    longer_than,
    metrics,
    speaks_of,
)
from labkit.routing.one_pass import one_pass
from labkit.routing.signals import signals
from labkit.tools import ToolRegistry

model = labkit.load()

# %% [markdown]
# ## 1 · A cheap way and a dear way
#
# "Small language model first, large one when needed" is the plan of many systems. Three claims stand behind it: small models can do **70-80% of an agent's tasks**, they are **10-30 times
# cheaper**, and they answer in **under a second**. You will not find out here whether that holds for your system. You will learn how to find out, and do it for one pair.
#
# The usual pair is a model on your machine and a large one in a data centre. This lab runs offline, so it takes a real pair that fits here: **two ways to use one and the same model**.
#
# - *cheap*: the words choose a tool, and **one pass** of the model fills in the arguments (`one_pass`);
# - *dear*: the model is asked about each tool and scores the values for each argument (`choose_fill`, lab 05, section 7).
#
# Everything below works in the same way with any other pair, for it sees only who was right and at what cost.

# %% [markdown]
# ![A request reaches the small model first. Its answer comes with signals, such as how sure it was of each token. The router turns them into a probability that the answer is right. At or above the threshold the small answer stands. Below it, the large model is asked, if the budget allows it and it is up; otherwise the small answer stands, with a mark. A private request goes to the small model by a way of its own that has no exit to the large model.](images/lab08_cascade.svg)

# %% [markdown]
# A request, and the functions that may be called for it. It is one of several hundred that were written for this course, in families: a car park, a library, a gym …

# %% tags=["nbval-check-output"]
cases = route_cases.cases()
case = cases["parking"][1]
words, tools = case.messages[-1]["content"], ToolRegistry.from_bfcl(case.functions)
print(words)
for tool in tools:
    print("  ", tool.name, list(tool.parameters["properties"]))

# %%
for turn in ("first", "second"):
    cheap = one_pass(model, tools, words, none=False)
    began = time.perf_counter()
    dear = call_tools(model, words, tools, choice="required", strategy="choose_fill")
    seconds = time.perf_counter() - began
    print(f"{turn} time: cheap {cheap.seconds:.2f} s, dear {seconds:.2f} s")

# %%
print("cheap:   ", [dict(call.arguments) for call in cheap.calls])
print("dear:    ", [dict(call.arguments) for call in dear.calls])
print("accepted:", case.answers)

# %% [markdown]
# The first time, the model is loaded, and both ways read their instructions; after that these stay in the KV cache (lab 01). All times below are without that.
#
# `accepted` lists the values that count as right. A call is right if every argument is. So who was right can be *computed*, without a person or another model as a judge:


# %%
def both_ways(family, case):
    """One request answered both ways: who was right, at what cost, and the signals."""
    words = case.messages[-1]["content"]
    tools = ToolRegistry.from_bfcl(case.functions)
    cheap = one_pass(model, tools, words, none=False)
    began = time.perf_counter()
    dear = call_tools(model, words, tools, choice="required", strategy="choose_fill")
    return {
        "family": family,
        "prompt": words,
        "weak_correct": int(bfcl.check(case, cheap.calls) is None),
        "strong_correct": int(bfcl.check(case, dear.calls) is None),
        "weak_cost": cheap.seconds,
        "strong_cost": time.perf_counter() - began,
        **signals(tools, words, cheap),
    }


# %%
rows, began = [], time.monotonic()
for family in list(cases):
    if len(rows) >= 5 and time.monotonic() - began > 4:
        break
    rows.append(both_ways(family, cases[family][0]))
live = pd.DataFrame(rows)
print(len(live), "requests, answered on this machine just now")
live[["family", "prompt", "weak_correct", "strong_correct", "weak_cost"]].head(6)

# %% [markdown]
# (As many as go into four seconds, five at least, at most one of each family.) Literature calls the two *weak* and *strong*; `weak_cost` and `strong_cost` are seconds here. The further columns are **signals**: numbers that come with the cheap answer for nothing. We come to them in section 3.

# %% [markdown]
# ### Many more, recorded
#
# A handful of requests is too few to learn from. So the course has a table with many more, answered in the same two ways by `labkit bench route` on 22 November 2026, on two cores of a Linux x86-64 machine without GPU that had other work to do
# at the time (`data/routing/outcomes.csv`; its origin stands in `data/MANIFEST.toml`).

# %%
recorded = pd.read_csv(data.path("routing/outcomes.csv"))
table = recorded[recorded["desk"] == 0].reset_index(drop=True)  # tool calls only
print(len(table), "requests in", table["family"].nunique(), "families")
both = live.merge(table, on=["family", "prompt"], suffixes=("", "_then"))
for way in ("weak", "strong"):
    same = (both[f"{way}_correct"] == both[f"{way}_correct_then"]).sum()
    print(f"{way}: the same outcome now and then in {same} of {len(both)}")

# %% [markdown]
# If a few differ, that is no error: logits differ a little between processors, and a close decision can fall the other way.
#
# ### What the claims look like here

# %%
weak, strong = table["weak_correct"], table["strong_correct"]
for name, right in (("cheap", weak), ("dear", strong)):
    low, high = metrics.bootstrap(np.mean, right, groups=table["family"], draws=200)
    print(
        f"{name:6} right in {right.mean():.1%}  (95% interval {low:.0%} to {high:.0%})"
    )
print(pd.crosstab(weak, strong))
ratio = table["strong_cost"].median() / table["weak_cost"].median()
print(f"the dear way takes {ratio:.1f} times as long (medians, recorded)")
ratio = live["strong_cost"].median() / live["weak_cost"].median()
print(f"… and {ratio:.1f} times as long on this machine now")
for name, rows in (("recorded, busy machine", table), ("this machine now", live)):
    print(f"cheap, under a second: {(rows['weak_cost'] < 1).mean():.0%}  ({name})")

# %% [markdown]
# How to read it:
#
# - The **interval** is from the *bootstrap*: draw the families again, with replacement, many times, and see how the figure moves. Whole families are drawn because requests of one family are alike.
# - The small table is the heart of the matter (rows: cheap wrong 0, right 1; columns: dear wrong 0, right 1). Only the cell *cheap wrong, dear right* pays for routing. Where both fail, the dear way is paid for nothing. Where the cheap one
#   is right and the dear one wrong, it even does harm.
# - Compare your lines with the three claims. With this pair, on these requests, the cheap way is right less often than 70-80%, and the dear way is nowhere near 10-30 times as dear: it is the same model. A claim about *tasks* and *costs*
#   is a claim about one pair on one mix of requests. And seconds depend on what else the machine does: before you quote them, measure on an idle one. The ratio of 10-30 comes from price lists, such as this example of one:

# %%
prices = Prices.load()
large_price = prices.models["example: large model"]
small_price = prices.models["example: small model"]
print(prices.age())
ratio = large_price.output / small_price.output
print(f"a written token: {ratio:.1f} times as dear at the large model")

# %% [markdown]
# ## 2 · Rules
#
# The first router is a list of rules. Everyone can read it, it costs no time, and it can *promise* something. A learnt router says "probably". So what must hold without exception is a rule, and comes first: **private data stays here**.
#
# labkit recognises some private data in a text (addresses of e-mail, phone numbers, keys). It cannot know that "the result of my test" is private. Therefore a request can also be *declared* private:

# %% tags=["nbval-check-output"]
for text in (
    "Book a table for two.",
    "Write to ana@example.org about it.",
    "The result of my blood test, please.",
):
    print(holds_private_data(text), "|", text)

# %% [markdown]
# ### Exercise 1 · Rules, and one that cannot be overruled (2 points)
#
# A rule is a name, a function of the text, and a target: `("long", lambda text: len(text) > 80, "large")`.


# %% nbgrader={"schema_version": 3, "grade": false, "solution": true, "locked": false, "task": false, "grade_id": "by-rules"}
def by_rules(request, rules):
    """Where a request goes, and why.

    request: {"text": str, "private": bool}.
    rules: list of (name, fits, target); fits is a function of the text.
    A request is private if it says so, or if holds_private_data(text), which this
    notebook imports. A private request goes to "small", with the reason "private";
    then no rule is asked.
    Else the first rule whose fits(text) is true decides; those after it are not asked.
    Returns [target, reason]; the reason is the rule's name. If none fits:
    ["small", "no rule fits"].
    """
    ### BEGIN SOLUTION
    text = request["text"]
    if request["private"] or holds_private_data(text):
        return ["small", "private"]
    for name, fits, target in rules:
        if fits(text):
            return [target, name]
    return ["small", "no rule fits"]
    ### END SOLUTION


# %% nbgrader={"schema_version": 3, "grade": true, "solution": false, "locked": true, "task": false, "grade_id": "lab08-by-rules", "points": 2}
with check(
    "lab08-by-rules", hint="Privacy first, then a loop that returns from inside."
) as expect:
    asked = []

    def is_long(text):
        asked.append(text)
        return len(text.split()) > 5

    rules = [
        ("long", is_long, "large"),
        ("greeting", lambda text: text.startswith("Hi"), "small"),
        ("law", lambda text: "contract" in text, "large"),
    ]

    def routed(text, private=False):
        return by_rules({"text": text, "private": private}, rules)

    expect.equal(routed("Is this contract valid?"), ["large", "law"], "the third rule")
    expect.equal(routed("Hi, a contract"), ["small", "greeting"], "the first that fits")
    expect.equal(routed("Thanks."), ["small", "no rule fits"], "no rule")
    before = len(asked)
    expect.equal(routed("A contract", True), ["small", "private"], "declared private")
    mail = "Send the contract to ana@example.org this very day."
    expect.equal(routed(mail), ["small", "private"], "an address in the text")
    expect.equal(len(asked), before, "rules asked about private requests")
    labkits = RuleRouter([longer_than(5, "large"), speaks_of("contract", "large")])
    for text in ("Is this contract valid?", "One two three four five six", "Thanks."):
        expect.equal(routed(text)[0], labkits.route(text).target, f"as labkit: {text}")
        print(labkits.route(text))

# %% [markdown]
# (In labkit the privacy rule does not stand among the rules, where somebody could reorder them, but in the part that holds the large model: section 8.)
#
# Are rules any good? "Long requests are hard" sounds right. On the recorded requests:

# %%
length = table["prompt"].str.split().str.len()
for name, some in (
    ("short", length <= length.median()),
    ("long", length > length.median()),
):
    print(f"{name:6} {some.sum():4} requests, cheap right in {weak[some].mean():.0%}")

# %% [markdown]
# How to read it: if the two lines are close together, length tells next to nothing about *these* requests. A rule is an opinion until it is measured. Keep rules for what you *know* (law, privacy, money), and let the data speak for the rest.

# %% [markdown]
# ## 3 · What the small model says about itself
#
# The model gives every token a probability (lab 01). Where it writes an argument, look at the best and the second-best token. The distance of their log-probabilities is the **margin**: large if the model is sure, near 0 if it
# could as well have written the other one.

# %%
for token in cheap.tokens:
    if len(token.top) > 1:
        (first, p), (second, q) = token.top[:2]
        print(f"{first!r:12} before {second!r:12} by {p - q:.2f}")

# %% [markdown]
# Tokens that the schema forced have no second choice and are left out. A call is as good as its worst argument, so we take the **smallest margin**: the least sure moment of the answer. (Capped at 6 nats, where the second choice
# has a four-hundredth of the first one's probability. Where nothing was open, it is 6, too.)


# %%
def least_margin(tokens):
    """The smallest margin of the tokens that had a second choice, at most 6."""
    tops = [token.top for token in tokens if len(token.top) > 1]
    return min([6.0] + [top[0][1] - top[1][1] for top in tops])


print("by hand:", round(least_margin(cheap.tokens), 4))
print("labkit: ", round(signals(tools, words, cheap)["margin_min"], 4))

# %% [markdown]
# labkit computes some forty such numbers for a cheap answer. Some are from the model (`margin_min`, `logprob_sum`), some from the words alone (`words_sum`: how well the values fit the request; `left`: words that no argument used).
# None asks the model again.

# %% [markdown]
# ## 4 · Does a score predict failure?
#
# Here are the smallest margins of the requests that went wrong and of those that went right:

# %%
figure, axes = plt.subplots(figsize=(7, 2.6))
edges = np.linspace(0, 6, 13)
parts = [table["margin_min"][weak == outcome] for outcome in (0, 1)]
axes.hist(
    parts,
    edges,
    label=["cheap wrong", "cheap right"],
    color=["#E69F00", "#0072B2"],
    edgecolor="black",
)
axes.set(xlabel="smallest margin (nats)", ylabel="requests")
axes.set_title("Sure answers are right more often")
axes.legend(fontsize=8)
told = [
    f"median {part.median():.2f} where it is {name}"
    for part, name in zip(parts, ("wrong", "right"), strict=True)
]
plots.show(figure, alt=f"Histogram of the smallest margin: {'; '.join(told)}.")

# %% [markdown]
# They overlap, so no threshold separates them cleanly. How good is a score, then, over *all* thresholds? Take one request that failed and one that did not, at random. The **AUC** (area under the ROC curve) is the probability that the score
# is higher for the one that failed. 1 is perfect, 0.5 is a coin, below 0.5 the score points the wrong way.

# %% [markdown]
# ### Exercise 2 · AUC by hand (2 points)
#
# `auc([3, 1, 2], [1, 0, 0])` is 1.0: the failed request has 3, above both others. `auc([2, 1, 2], [1, 0, 0])` is 0.75: one pair won, one tie.


# %% nbgrader={"schema_version": 3, "grade": false, "solution": true, "locked": false, "task": false, "grade_id": "auc"}
def auc(score, failed):
    """How well a score predicts failure.

    score: list of numbers; a higher one predicts failure.
    failed: list of 0 and 1, one for each request; at least one of each kind.
    Over all pairs of a failed request and one that did not fail: the share of pairs in
    which the failed one has the higher score; a tie counts as half a pair.
    Returns a float.
    """
    ### BEGIN SOLUTION
    score, failed = np.asarray(score, dtype=float), np.asarray(failed)
    difference = score[failed == 1][:, None] - score[failed == 0][None, :]
    return float((difference > 0).mean() + (difference == 0).mean() / 2)
    ### END SOLUTION


# %% nbgrader={"schema_version": 3, "grade": true, "solution": false, "locked": true, "task": false, "grade_id": "lab08-auc", "points": 2}
with check(
    "lab08-auc", hint="Two loops will do: one over the failed, one over the others."
) as expect:
    expect.close(auc([3, 1, 2], [1, 0, 0]), 1, "the first example")
    expect.close(auc([2, 1, 2], [1, 0, 0]), 0.75, "the second example")
    expect.close(auc([0, 5], [1, 0]), 0, "the wrong way round")
    expect.close(auc([7, 7, 7, 7], [1, 0, 0, 1]), 0.5, "a constant score")
    expect.close(auc([-2, -1.5, -1], [0, 1, 0]), 0.5, "negative scores")
    for name in ("margin_min", "words_sum", "words"):
        mine, theirs = (
            of((-table[name]).tolist(), (1 - weak).tolist())
            for of in (auc, metrics.auc)
        )
        expect.close(mine, theirs, f"as labkit: {name}")
        print(f"{name:11} yours {mine:.3f}, labkit {theirs:.3f}")

# %% [markdown]
# (The minus turns "sure" into "predicts failure".) Some more signals, with intervals:

# %%
chosen = [
    "words",
    "tool_margin",
    "margin",
    "margin_min",
    "logprob_sum",
    "words_min",
    "words_sum",
]
rows = []
for name in chosen:
    columns = -table[name], 1 - weak
    low, high = metrics.bootstrap(
        metrics.auc, *columns, groups=table["family"], draws=200
    )
    rows.append(
        {"signal": name, "AUC": metrics.auc(*columns), "low": low, "high": high}
    )
pd.DataFrame(rows).set_index("signal").sort_values("AUC").round(3)

# %% [markdown]
# How to read it: `words` (the length) is where the rule of section 2 stands. Where the interval has 0.5 in it, the signal may as well be a coin. (Below 0.5 the minus is wrong: then it is the *longer* requests that fail more often.) `margin`, the margin of the *first* open token alone, is worse than the smallest one: it looks at one moment of
# the answer only.

# %% [markdown]
# ## 5 · From a score to a probability
#
# A margin of 1.7: is that much? For a decision you want a *probability that the answer is right*, and one that can be trusted: of all answers with "0.8", about 80% should be right. A score with that property is **calibrated**.
#
# The model has a probability of its own: the product of its tokens' probabilities, `exp(logprob_sum)`. To see whether it is calibrated, sort the requests by it, cut them into bins of equal size, and compare promise and outcome in each.
#
# First, some of the families are set aside for testing, so that nothing is tested on what it was fitted to. The table's column `test` says which:

# %%
fit, test = (
    table[table["test"] == is_test].reset_index(drop=True) for is_test in (0, 1)
)
print("families of both:", set(fit["family"]) & set(test["family"]))
for name, part in (("fit", fit), ("test", test)):
    print(
        f"{name:5} {len(part)} requests, cheap {part['weak_correct'].mean():.0%}",
        end="",
    )
    print(f", dear {part['strong_correct'].mean():.0%} right")

# %% [markdown]
# **Isotonic regression** makes a probability of any score. It assumes one thing: a higher score does not mean a lower probability. Its algorithm (*pool adjacent violators*) fits into a picture:

# %% [markdown]
# ![Requests sorted by rising score, with outcomes wrong 0, right 1, wrong 0, right 1, right 1. The second and third violate the order, 1 before 0, so they are pooled into one block with their mean, 0.5. The result 0, 0.5, 0.5, 1, 1 rises like a staircase and is the probability for each score.](images/lab08_isotonic.svg)

# %% [markdown]
# ### Exercise 3 · Isotonic regression (3 points)
#
# Go from left to right and keep a list of **blocks**, each with a mean and a count. Append the next group as a block. While the last block's mean is below that of the block before it, merge the two: the counts add up, and the mean is weighted by them.
#
# `rising([0, 1, 0, 1, 1], [1, 1, 1, 1, 1])` is `[0, 0.5, 0.5, 1, 1]`; `rising([0.5, 0.2], [1, 2])` is `[0.3, 0.3]`.


# %% nbgrader={"schema_version": 3, "grade": false, "solution": true, "locked": false, "task": false, "grade_id": "rising"}
def rising(means, counts):
    """The rising staircase that fits best (pool adjacent violators).

    means: list of numbers: share of right answers in each group of requests with the
    same score, in the order of rising scores; may be empty.
    counts: list of int of 1 or more: the size of each group.
    Returns a list of float, one for each group: the mean of the block in which the
    group ends up. It never falls.
    """
    ### BEGIN SOLUTION
    blocks = []  # mean, count, number of groups
    for mean, count in zip(means, counts, strict=True):
        blocks.append((mean, count, 1))
        while len(blocks) > 1 and blocks[-1][0] < blocks[-2][0]:
            (m, c, g), (n, d, h) = blocks.pop(), blocks.pop()
            blocks.append(((m * c + n * d) / (c + d), c + d, g + h))
    return [float(mean) for mean, _, groups in blocks for _ in range(groups)]
    ### END SOLUTION


# %% nbgrader={"schema_version": 3, "grade": true, "solution": false, "locked": true, "task": false, "grade_id": "lab08-rising", "points": 3}
with check(
    "lab08-rising",
    hint="A merge can make a new violation further left: merge in a while loop.",
) as expect:
    expect.close(rising([0, 1, 0, 1, 1], [1] * 5), [0, 0.5, 0.5, 1, 1], "the picture")
    expect.close(rising([0.5, 0.2], [1, 2]), [0.3, 0.3], "weighted by counts")
    expect.close(rising([0.1, 0.5, 0.9], [3, 1, 2]), [0.1, 0.5, 0.9], "rises already")
    expect.close(rising([3, 2, 1], [1, 1, 1]), [2, 2, 2], "falls all the way")
    back = rising([1, 2, 2.5, 0], [1, 1, 1, 3])
    expect.close(back, [5.5 / 6] * 4, "a late one pulls all down")
    expect.equal(list(rising([], [])), [], "no groups")
    groups = fit.groupby("margin_min")["weak_correct"].agg(["mean", "size"])
    mine = rising(groups["mean"].tolist(), groups["size"].tolist())
    calibration = Calibration.fit(fit["margin_min"], fit["weak_correct"])
    scikit = IsotonicRegression().fit(fit["margin_min"], fit["weak_correct"])
    expect.close(mine, scikit.predict(groups.index), "the staircase of scikit-learn")
    steps = sorted(set(np.round(mine, 9)))
    expect.close(steps, np.round(calibration.values, 9), "the steps in labkit")
    print(len(groups), "different margins,", len(set(mine)), "steps in your staircase")

# %%
calibration = Calibration.fit(fit["margin_min"], fit["weak_correct"])
for margin in (0.1, 0.5, 1.7, 4):
    print(f"smallest margin {margin}: right with probability {calibration(margin):.2f}")

# %% [markdown]
# (Two margins on one step of the staircase would get the same probability, and could no longer be told apart. So labkit joins the middles of the steps by straight lines.)
#
# That answers the question of the margin of 1.7. Now both probabilities, the model's own and the calibrated one, on the *test* families:

# %%
raw = np.exp(test["logprob_sum"])
calibrated = test["margin_min"].map(calibration)
figure, axes = plt.subplots(figsize=(4.6, 4.2))
axes.plot([0, 1], [0, 1], ":", color="black", label="perfect")
told = []
for name, p, style in (
    ("the model's own", raw, "o--"),
    ("calibrated", calibrated, "s-"),
):
    bins = metrics.reliability(p, test["weak_correct"], 5)
    axes.plot([x for x, _, _ in bins], [y for _, y, _ in bins], style, label=name)
    told.append(name + ": " + ", ".join(f"{x:.2f} gives {y:.2f}" for x, y, _ in bins))
axes.set(xlabel="promised probability", ylabel="share of right answers")
axes.set_title("Reliability on the test families")
axes.legend(fontsize=8)
plots.show(figure, alt=f"Reliability plot. Promise and outcome: {'; '.join(told)}.")

# %% [markdown]
# How to read it: each mark is a fifth of the test requests. On the dotted line, promise and outcome agree. Above it, the answers are better than promised; below it, the promise was too high.
#
# One number for the distance: the **expected calibration error** (ECE), the mean distance between promise and outcome over the bins. Bins of *equal mass* (equally many requests), not of equal width: else some bins hold three requests, and their
# share is chance.

# %% [markdown]
# ### Exercise 4 · ECE by hand (2 points)
#
# `ece([0.1, 0.9, 0.3, 0.7], [0, 1, 1, 0], 2)`: the bins are {0.1, 0.3} and {0.7, 0.9}; promised on average 0.2 and 0.8; right 0.5 and 0.5; so (2 · 0.3 + 2 · 0.3) / 4 = 0.3.


# %% nbgrader={"schema_version": 3, "grade": false, "solution": true, "locked": false, "task": false, "grade_id": "ece"}
def ece(confidence, right, bins):
    """Expected calibration error, with bins of equal mass.

    confidence: list of numbers from 0 to 1; right: list of 0 and 1; equally long.
    bins: int, from 1 to the number of requests.
    1. Requests with the same confidence cannot be told apart: each gets, instead of its
       own outcome, the share of right answers among them.
    2. The requests are sorted by confidence and cut by np.array_split into bins.
    3. Each bin: the distance (absolute value) between mean confidence and mean outcome.
    Returns the mean distance, each bin weighted by its number of requests; a float.
    """
    ### BEGIN SOLUTION
    rows = pd.DataFrame({"confidence": confidence, "right": right})
    rows["right"] = rows.groupby("confidence")["right"].transform("mean")
    rows = rows.sort_values("confidence")
    gap = (rows["confidence"] - rows["right"]).to_numpy()
    return float(sum(abs(part.sum()) for part in np.array_split(gap, bins)) / len(gap))
    ### END SOLUTION


# %% nbgrader={"schema_version": 3, "grade": true, "solution": false, "locked": true, "task": false, "grade_id": "lab08-ece", "points": 2}
with check(
    "lab08-ece",
    hint="groupby(confidence) with transform('mean') does step 1 in one line.",
) as expect:
    expect.close(ece([0.1, 0.9, 0.3, 0.7], [0, 1, 1, 0], 2), 0.3, "the example")
    expect.close(ece([0, 1, 1, 0], [0, 1, 1, 0], 2), 0, "always as promised")
    expect.close(ece([1, 1, 0], [0, 0, 1], 3), 1, "always the contrary")
    expect.close(ece([0.5] * 4, [0, 0, 1, 1], 2), 0, "step 1: all alike, half right")
    expect.close(ece([0.2, 0.2, 0.9], [1, 0, 1], 2), 0.7 / 3, "bins of 2 and 1")
    for name, p in (("the model's own", raw), ("calibrated", calibrated)):
        mine = ece(p.tolist(), test["weak_correct"].tolist(), 5)
        expect.close(mine, metrics.ece(p, test["weak_correct"], 5), f"labkit: {name}")
        print(f"{name:15} ECE {mine:.3f}")


# %%
def five_bins(p, right):
    """ECE with five bins."""
    return metrics.ece(p, right, 5)


for name, p in (("the model's own", raw), ("calibrated", calibrated)):
    columns = p, test["weak_correct"]
    low, high = metrics.bootstrap(five_bins, *columns, groups=test["family"], draws=200)
    print(f"{name:15} ECE {five_bins(*columns):.3f}", end="   ")
    print(f"(95% interval {low:.3f} to {high:.3f})")

# %% [markdown]
# How to read it: the model's own probability is that of *writing this text*, not of *being right*. Calibration repairs that on average. What remains is partly chance (a perfect promise would not give 0 on so few requests), partly real: the
# test families are other ones, and for some of them the same margin means something else.

# %% [markdown]
# ### Many signals: a classifier
#
# One signal used one number of forty. A classifier weighs them all: logistic regression, then isotonic regression on scores of families that it did not see. That is `Predictor`:

# %%
ABOUT = ["prompt", "family", "test", "desk", "passes", "refused"]
ABOUT += ["weak_correct", "strong_correct", "weak_cost", "strong_cost"]
names = [name for name in fit.columns if name not in ABOUT]
predictor = Predictor.fit(
    fit[names].to_dict("records"), fit["weak_correct"], groups=fit["family"].tolist()
)
p_right = test[names].apply(predictor.probability, axis=1)
failed = 1 - test["weak_correct"]
for name, p in (("smallest margin", calibrated), ("predictor", p_right)):
    print(f"{name:15} AUC {metrics.auc(-p, failed):.3f}", end=", ")
    print(f"ECE {five_bins(p, test['weak_correct']):.3f} on the test families")
began = time.perf_counter()
predictor.probability(test.iloc[0][names])
print(f"a prediction takes {(time.perf_counter() - began) * 1000:.1f} ms", end="")
print(f", a cheap answer {live['weak_cost'].median() * 1000:.0f} ms (median, live)")

# %% [markdown]
# How to read it: the AUC says how well right and wrong are *told apart*, the ECE how well the promised number *holds*. They are different virtues: a router that only sorts needs the first; whoever sets a threshold, or tells a customer "I am 80% sure", needs the second.
# And the prediction costs next to nothing beside the answer. It must: a router that takes as long as the model saves nothing.

# %% [markdown]
# ## 6 · The curve of quality and cost
#
# Now each test request has a number: how much the dear way is *expected to gain* over the cheap one, here 1 − probability of being right. Sort by it, highest first, and send a share of the requests the dear way: first none, then the first one, and so on to all. Each share gives a
# quality. That is the curve by which routers are judged, for it needs no threshold.

# %% [markdown]
# ### Exercise 5 · The curve (3 points)
#
# Four requests with `gain = [0.9, 0.2, 0.2, 0.6]`, `weak = [0, 1, 1, 1]`, `strong = [1, 1, 0, 1]`: cheap for all gives 0.75. Send the first one the dear way: 1.0. Then the fourth: 1.0. The other two have the same gain and go together: 0.75.
# So the points are `[[0, 0.75], [0.25, 1.0], [0.5, 1.0], [1.0, 0.75]]`.


# %% nbgrader={"schema_version": 3, "grade": false, "solution": true, "locked": false, "task": false, "grade_id": "quality-curve"}
def quality_curve(gain, weak, strong):
    """Quality against the share of requests that go the dear way.

    gain: list of numbers, what the router expects the dear way to add; any scale.
    weak, strong: lists of 0 and 1: who was right. All three equally long, not empty.
    The requests go the dear way in the order of falling gain; those of equal gain go
    together.
    Returns a list of [share, quality]: the first is [0, quality of all cheap]; then one
    for each different gain, after all requests of that gain have gone. Quality is the
    share of right answers over all requests, cheap and dear.
    """
    ### BEGIN SOLUTION
    gain, weak, strong = (np.asarray(x, dtype=float) for x in (gain, weak, strong))
    points = [[0.0, float(weak.mean())]]
    for least in sorted(set(gain), reverse=True):
        goes = gain >= least
        points.append([float(goes.mean()), float(np.where(goes, strong, weak).mean())])
    return points
    ### END SOLUTION


# %% nbgrader={"schema_version": 3, "grade": true, "solution": false, "locked": true, "task": false, "grade_id": "lab08-quality-curve", "points": 3}
with check(
    "lab08-quality-curve",
    hint="For each different gain: who goes? np.where(goes, strong, weak) is who answers.",
) as expect:
    got = quality_curve([0.9, 0.2, 0.2, 0.6], [0, 1, 1, 1], [1, 1, 0, 1])
    want = [[0, 0.75], [0.25, 1], [0.5, 1], [1, 0.75]]
    expect.close(got, want, "the example")
    got = quality_curve([5, 5], [0, 1], [1, 1])
    expect.close(got, [[0, 0.5], [1, 1]], "a router that knows nothing")
    got = quality_curve([-1, -3], [0, 0], [0, 1])
    expect.close(got, [[0, 0], [0.5, 0], [1, 0.5]], "negative gains")
    columns = (1 - p_right).tolist(), test["weak_correct"], test["strong_correct"]
    mine = quality_curve(columns[0], columns[1].tolist(), columns[2].tolist())
    theirs = metrics.curve(*columns)
    want = np.column_stack([theirs.share, theirs.quality])
    expect.close(mine, want, "labkit's curve of the predictor")
    print(len(mine), "points, from", np.round(mine[0], 3), "to", np.round(mine[-1], 3))

# %%
right = test["weak_correct"], test["strong_correct"]
length = test["prompt"].str.split().str.len()
ROUTERS = {
    "length": length,
    "smallest margin": -calibrated,
    "predictor": 1 - p_right,
    "oracle": metrics.oracle(*right),
}
curves = {name: metrics.curve(gain, *right) for name, gain in ROUTERS.items()}
curves["random"] = metrics.random_router(*right)

# %%
STYLES = {
    "random": (":", "black"),
    "length": ("-.", "#CC79A7"),
    "smallest margin": ("--", "#B35900"),
    "predictor": ("-", "#0072B2"),
    "oracle": ((0, (1, 1)), "#2e7d4f"),
}


def draw(axes, curves):
    """Curves of quality, told apart by colour and by line."""
    for name, (line, colour) in STYLES.items():
        axes.plot(
            curves[name].share, curves[name].quality, ls=line, color=colour, label=name
        )
    axes.set(xlabel="share of requests that go the dear way", ylabel="right answers")
    axes.legend(fontsize=8)


# %%
SHARES = (0, 0.1, 0.25, 0.5, 0.75, 1)
told = {
    name: ", ".join(f"{made.at(share):.2f} at {share:g}" for share in SHARES)
    for name, made in curves.items()
}
figure, axes = plt.subplots(figsize=(7, 3.8))
draw(axes, curves)
axes.set_title("What routing buys (test families)")
plots.show(
    figure,
    alt="Quality against share. "
    + "; ".join(f"{name}: {t}" for name, t in told.items()),
)

# %% [markdown]
# How to read it:
#
# - **Left end**: everything cheap. **Right end**: everything dear. All curves share both ends.
# - **random** is the straight line between: a coin needs no skill. A router is worth what lies *above* it.
# - **oracle** knows the outcomes beforehand. It rises as long as there is something to gain, stays flat, and falls where the dear way does harm. Nobody can reach it; it shows how much there is to win.
# - A curve *below* the dotted line is worse than a coin: such a router sends the dear way what the dear way cannot do either.
# - A curve may lie *above its own right end*: part of the requests dear can be better than all. Where the cheap way is right and the dear one wrong, staying cheap is not only cheaper.

# %% [markdown]
# Two numbers sum a curve up. Let the **performance gap recovered** (PGR) be 0 at the quality of all cheap and 1 at that of all dear:
#
# $$\text{PGR} = \frac{\text{quality} - \text{quality}_\text{cheap}}{\text{quality}_\text{dear} - \text{quality}_\text{cheap}}$$
#
# - **APGR**: the average PGR over all shares, the area under it. 0.5 for a coin.
# - **CPT(50)**: the call-performance threshold, the smallest share that must go the dear way to recover 50% of the gap. Smaller is better; a coin needs 0.5.

# %% [markdown]
# ![A curve of recovered gap over the share of dear requests, from 0 at share 0 to 1 at share 1, bulging above the diagonal of a random router. The area under it is shaded and labelled APGR. A horizontal line at one half meets the curve at a share of about 0.25; a vertical line leads down to the axis, labelled CPT 50.](images/lab08_curve.svg)

# %% [markdown]
# ### Exercise 6 · APGR and CPT (2 points)
#
# For the points `[[0, 0.5], [0.5, 0.9], [1, 1.0]]` the PGR is 0, 0.8 and 1. The area under its straight lines is 0.5 · 0.4 + 0.5 · 0.9 = 0.65. It reaches 0.5 at a share of 0.3125.


# %% nbgrader={"schema_version": 3, "grade": false, "solution": true, "locked": false, "task": false, "grade_id": "apgr-cpt"}
def apgr(points):
    """The area under the PGR.

    points: list of [share, quality] as quality_curve makes it; shares rise from 0 to 1.
    The last quality is above the first one. Between points the curve is straight.
    """
    ### BEGIN SOLUTION
    share, quality = np.array(points).T
    return float(
        np.trapezoid((quality - quality[0]) / (quality[-1] - quality[0]), share)
    )
    ### END SOLUTION


def cpt(points, percent):
    """The smallest share at which the PGR reaches percent / 100.

    points: as for apgr; the curve may rise, fall and rise again.
    percent: above 0, at most 100.
    Between points the curve is straight, and the share is found on that line.
    """
    ### BEGIN SOLUTION
    share, quality = np.array(points).T
    recovered = (quality - quality[0]) / (quality[-1] - quality[0])
    goal = percent / 100
    i = int(np.argmax(recovered >= goal - 1e-12))
    part = (goal - recovered[i - 1]) / (recovered[i] - recovered[i - 1])
    return float(share[i - 1] + part * (share[i] - share[i - 1]))
    ### END SOLUTION


# %% nbgrader={"schema_version": 3, "grade": true, "solution": false, "locked": true, "task": false, "grade_id": "lab08-apgr-cpt", "points": 2}
with check(
    "lab08-apgr-cpt",
    hint="np.interp would fail where the curve falls: look for the first point above.",
) as expect:
    simple = [[0, 0.5], [0.5, 0.9], [1, 1.0]]
    expect.close(apgr(simple), 0.65, "APGR of the example")
    expect.close(cpt(simple, 50), 0.3125, "CPT(50) of the example")
    expect.close(cpt(simple, 100), 1, "CPT(100)")
    line = [[0, 0.2], [1, 0.6]]
    expect.close([apgr(line), cpt(line, 20)], [0.5, 0.2], "a coin")
    wave = [[0, 0.4], [0.25, 0.6], [0.5, 0.5], [0.75, 0.9], [1, 0.8]]
    expect.close(cpt(wave, 40), 0.2, "reached, lost, and reached again")
    dip = [[0, 0.4], [0.5, 0.3], [1, 0.8]]
    expect.close(apgr(dip), 0.125, "below the start")
    expect.close(cpt(dip, 20), 0.5 + 0.5 * 0.18 / 0.5, "CPT(20) after a dip")
    for name, made in curves.items():
        points = np.column_stack([made.share, made.quality]).tolist()
        gain = ROUTERS.get(name, np.zeros(len(test)))
        expect.close(apgr(points), metrics.apgr(gain, *right), f"APGR of {name}")
        for percent in (20, 50, 80):
            want = metrics.cpt(made, percent)
            expect.close(cpt(points, percent), want, f"CPT({percent}) of {name}")
        print(f"{name:15} APGR {apgr(points):.3f}, CPT(50) {cpt(points, 50):.3f}")

# %%
rows = []
for name, made in curves.items():
    gain = ROUTERS.get(name, np.zeros(len(test)))
    low, high = metrics.bootstrap(
        metrics.apgr, gain, *right, groups=test["family"], draws=200
    )
    cpts = {f"CPT({n})": metrics.cpt(made, n) for n in (20, 50, 80)}
    rows.append(
        {
            "router": name,
            "APGR": metrics.apgr(gain, *right),
            "low": low,
            "high": high,
            **cpts,
        }
    )
pd.DataFrame(rows).set_index("router").sort_values("APGR").round(3)

# %% [markdown]
# How to read it:
#
# - An APGR of 0.7 means that, averaged over all shares, the router has recovered 70% of the gap. It is *not* 70% right answers, and it says nothing about how wide the gap is.
# - The intervals are wide, for there are few families. Two routers whose intervals overlap that much cannot be told apart by this data.
# - Compare with the AUC at the end of section 5. The router that knows best where the cheap way *fails* need not be the one with the best APGR: where both ways fail, a failure that was foreseen perfectly still buys nothing.
#
# ### A perfect expert (simulated)
#
# People often draw the curve as if the large model were always right. That is a **simulated** expert; nobody has measured one. It flatters: it does no harm anywhere, and every failure of the cheap way is worth an escalation.

# %%
perfect = np.ones(len(test))
rows = []
for name, expert in (
    ("dear way, measured", right[1]),
    ("perfect expert, simulated", perfect),
):
    made = metrics.curve(1 - p_right, right[0], expert)
    rows.append(
        {
            "strong tier": name,
            "all cheap": made.quality[0],
            "a quarter dear": made.at(0.25),
            "all dear": made.quality[-1],
            "APGR": metrics.apgr(1 - p_right, right[0], expert),
        }
    )
pd.DataFrame(rows).set_index("strong tier").round(3)

# %% [markdown]
# Look at the shares of right answers, not at the APGR: that is relative to the gap, and the gap is another one. Whoever shows you such figures: ask which strong tier was *measured*.

# %% [markdown]
# ## 7 · Where to put the threshold
#
# The curve shows what is possible; a running system needs *one* point on it. The threshold: an answer stays cheap if its probability of being right is at least this.


# %%
def at(threshold):
    """Share of dear requests, quality, and mean seconds at a threshold."""
    dear = p_right < threshold
    quality = np.where(dear, test["strong_correct"], test["weak_correct"]).mean()
    seconds = (test["weak_cost"] + dear * test["strong_cost"]).mean()
    return dear.mean(), quality, seconds


steps = pd.DataFrame(
    [(t, *at(t)) for t in (0, 0.2, 0.4, 0.6, 0.8, 1)],
    columns=["threshold", "share dear", "right", "seconds"],
)
print(f"all dear at once, without a cascade: {test['strong_cost'].mean():.3f} seconds")
steps.set_index("threshold").round(3)

# %% [markdown]
# Where two lines agree, no request has a probability between the two thresholds.
#
# The seconds are those of a **cascade**: the cheap answer comes first and is paid always, the dear one on top. (A router that decides *before* asking the small model saves that, but knows less: it has no margin.) So look at the last line: everything dear through a cascade costs *more* than asking the dear way at once.
#
# The same on the curve. Without widgets, this picture shows three thresholds; below it is a slider.


# %%
def on_the_curve(threshold, *more):
    """Show the predictor's curve with a mark for each threshold."""
    figure, axes = plt.subplots(figsize=(7, 3.4))
    draw(axes, curves)
    told = []
    for t in (threshold, *more):
        share, quality, seconds = at(t)
        axes.plot(share, quality, "o", color="#0072B2", markersize=9)
        axes.annotate(f"{t:g}", (share, quality), (4, -14), textcoords="offset points")
        told.append(
            f"threshold {t:g}: {share:.0%} dear, {quality:.1%} right, {seconds:.2f} s"
        )
    axes.set_title("; ".join(told) if len(told) == 1 else "Three thresholds")
    plots.show(figure, alt="The predictor's curve with marks. " + "; ".join(told) + ".")


on_the_curve(0.1, 0.4, 0.9)

# %%
slider = ipywidgets.FloatSlider(
    0.5, min=0, max=1, step=0.05, description="threshold", continuous_update=False
)
picture = ipywidgets.interactive_output(on_the_curve, {"threshold": slider})
ipywidgets.VBox([slider, picture])

# %% [markdown]
# Move the slider (arrow keys work, too). If you see no slider, this notebook is being read without a running kernel or without widgets: write `on_the_curve(0.35)` into a cell instead.
#
# How to choose? Say what a wrong answer costs you. If a wrong answer costs as much as 10 s of waiting, an escalation that takes 3 s is worth it from a gain of 0.3 on. That fixes the threshold; no curve can do it for you. (Mind that 1 − probability is the gain only if the dear way is always right. It is
# not; *Break it* 7 goes on from here.)

# %% [markdown]
# ## 8 · The cascade, and what it must never do
#
# A running cascade must also work on bad days: the large model is down, a check refuses the small one's answer, a customer's request is private. For each of them there must be *one* way through.

# %% [markdown]
# ### Exercise 7 · The cascade (3 points)
#
# What comes back has three parts: the answer, who gave it, and a **mark** that says why it is not what one would have liked.


# %% nbgrader={"schema_version": 3, "grade": false, "solution": true, "locked": false, "task": false, "grade_id": "cascade"}
def cascade(request, small, large, threshold):
    """Small first, large where it pays.

    request: {"text": str, "private": bool}.
    small: function of the text; returns {"answer": str, "confidence": float, "problem":
    str}; the problem says why a check refused the answer, "" if none did. It is called
    once.
    large: function of the text; returns a str, or raises OSError when it is down.
    Returns [answer, who, mark]:
    - a private request (declared, or by holds_private_data(text)): small's answer,
      "small", "private". large is not called, whatever small said.
    - else, if there is a problem or the confidence is below the threshold, large is
      called once: its answer, "large", ""; if it raises OSError: small's answer,
      "small", "unavailable". Other exceptions of large pass through.
    - else small's answer, "small", "".
    """
    ### BEGIN SOLUTION
    text = request["text"]
    made = small(text)
    if request["private"] or holds_private_data(text):
        return [made["answer"], "small", "private"]
    if not made["problem"] and made["confidence"] >= threshold:
        return [made["answer"], "small", ""]
    try:
        return [large(text), "large", ""]
    except OSError:
        return [made["answer"], "small", "unavailable"]
    ### END SOLUTION


# %% nbgrader={"schema_version": 3, "grade": true, "solution": false, "locked": true, "task": false, "grade_id": "lab08-cascade", "points": 3}
with check(
    "lab08-cascade", hint="Return as soon as it is clear; the private case comes first."
) as expect:
    sent = []

    def large(text):
        sent.append(text)
        if "down" in text:
            raise ConnectionError("no answer")
        return "L"

    def ask(text, confidence, problem="", private=False):
        made = {"answer": "S", "confidence": confidence, "problem": problem}
        request = {"text": text, "private": private}
        return cascade(request, lambda text: made, large, 0.6)

    expect.equal(ask("a", 0.9), ["S", "small", ""], "a sure answer")
    expect.equal(ask("b", 0.6), ["S", "small", ""], "exactly at the threshold")
    expect.equal(ask("c", 0.59), ["L", "large", ""], "an unsure answer")
    expect.equal(ask("d", 0.9, "cut short"), ["L", "large", ""], "a refused answer")
    expect.equal(ask("e, down", 0), ["S", "small", "unavailable"], "large is down")
    expect.equal(
        ask("f", 0, private=True), ["S", "small", "private"], "declared private"
    )
    got = ask("to ana@example.org", 0.9, "refused")
    expect.equal(got, ["S", "small", "private"], "a private text, and a refused answer")
    expect.equal(sent, ["c", "d", "e, down"], "what reached the large model")
    print("reached the large model:", sent)

# %% [markdown]
# ### labkit's version
#
# The same with what was measured: an `Attempt` is what the small model made of a request, with its signals; here the predictor's probability is one of them. `ConfidenceRouter` compares a signal with the threshold, after a calibration (from 0 to 0 and from 1 to 1: it is a probability already).
# All test requests go through. Whether the recorded answer was right stands for the answer itself, so it takes no time:


# %%
def run(threshold=0.5, budget=None, price=lambda request: Price(), rows=None):
    """Test requests through labkit's cascade; a table of what happened."""
    rows = test.assign(p=p_right).to_dict("records") if rows is None else rows
    of = {row["prompt"]: row for row in rows}
    made = Cascade(
        lambda asked: Attempt(
            of[asked.text]["weak_correct"], {"p": of[asked.text]["p"]}
        ),
        lambda asked: of[asked.text]["strong_correct"],
        ConfidenceRouter(Calibration((0, 1), (0, 1)), signal="p", threshold=threshold),
        budget=budget,
        price=price,
    )
    done = [made.answer(row["prompt"]) for row in rows]
    decisions = pd.DataFrame(one.decision for one in done)
    return decisions.assign(right=[one.answer for one in done])


# %%
done = run()
print(done.groupby(["target", "mark"])["right"].agg(["size", "mean"]).round(3))
print(f"together right: {done['right'].mean():.1%}")

# %% [markdown]
# (If there is a line with the mark `private`: none of these requests is, but labkit took a number or an address in some of them for a person's. It errs on the safe side, and those requests stay with the cheap way although it may be wrong. Privacy has a price, and here it is measured.)
#
# ### Private by construction
#
# In labkit a private request is handed to `LocalOnly`. That object does not *decide* against the large model. It has none:

# %%
local = LocalOnly(lambda request: Attempt("answered here"))
print(local.answer("Anything at all").decision)
print("what it holds:", list(vars(local)))

# %% [markdown]
# "By construction" means: no threshold, no rule, no bug in the router can change it, because there is no wire. If you need privacy for *everything*, for example on a plane or in a clinic, use `LocalOnly` alone.
#
# ### The large model is down


# %%
def down(request):
    raise BackendUnavailable("The large model does not answer.", "Try again later.")


broken = Cascade(
    lambda request: Attempt("a small answer", problem="refused by a check"),
    down,
    ClassifierRouter(predictor),
)
for request in (RouteRequest("Hard one"), RouteRequest("Secret one", private=True)):
    given = broken.answer(request)
    print(given.answer, "|", given.decision.mark, "|", given.decision.reason)

# %% [markdown]
# The customer gets an answer in both cases, and the program *knows* that it is second best. It can say so, ask again later, or call a person. An answer without the mark would be a lie.

# %% [markdown]
# ## 9 · Budgets
#
# Three limits, each with a meaning of its own: **money** (what may be spent in a period), **seconds** (how long one request may take), **share** (which part of the requests may escalate). Money needs prices, and prices need a date:

# %%
euros = (400 * large_price.input + 60 * large_price.output) / 1e6
print(
    f"{prices.date}: 400 tokens read, 60 written: {euros:.5f} {prices.currency} a request"
)
price = Price(money=euros, seconds=2.0)
for name, budget in (
    ("no limit", Budget()),
    ("at most 0.04 in all", Budget(money=0.04)),
    ("at most 1 s", Budget(seconds=1.0)),
    ("a share of 20%", Budget(share=0.2)),
):
    done = run(0.5, budget, lambda request: price)
    dear = (done["target"] == "large").sum()
    kept = (done["mark"] == "budget").sum()
    print(
        f"{name:22} {dear:3} dear, {kept:3} kept back, {done['right'].mean():.1%} right, ",
        end="",
    )
    print(f"{done['money'].sum():.3f} {prices.currency}")

# %% [markdown]
# (The price is an example for a hosted model; the answers are those of the dear way on this model. The 2 seconds are an assumption, too.)
#
# A budget is a brake, not a router: it takes who comes first. Suppose somebody sets the threshold to 1 ("always ask the better one") and relies on a budget of 20%. Beside it, a threshold that sends 20% by itself. As the order of arrival matters, three random ones:

# %%
rng = random.Random(0)
rows = test.assign(p=p_right).to_dict("records")
firsts = [
    run(1.0, Budget(share=0.2), rows=rng.sample(rows, len(rows))) for _ in range(3)
]
by_budget = np.mean([done["right"].mean() for done in firsts])
share = np.mean([(done["target"] == "large").mean() for done in firsts])
print(f"a budget alone:  {by_budget:.1%} right, {share:.0%} dear")
print(f"a threshold:     {curves['predictor'].at(share):.1%} right at the same share")
print(f"a coin:          {curves['random'].at(share):.1%} right")

# %% [markdown]
# So set the threshold for the share that you can pay on a usual day, and the budget a little above it, for the unusual one.

# %% [markdown]
# ## 10 · A table: which model for which task
#
# Where the kind of task is known, it can decide alone, and there may be more than two models. Then the router is a table of measurements: for each task and model the quality, the seconds, the memory. Here the family in which the dear way brings most, and the one in which it brings least. (They were *picked* for being extreme, on few requests each; measured anew, they would lie closer together.)

# %%
by_family = table.groupby("family")[["weak_correct", "strong_correct"]]
means = by_family.mean()[by_family.size() >= 8]
gap = (means["strong_correct"] - means["weak_correct"]).sort_values()
tasks = [gap.index[-1], gap.index[0]]
ram = models.find("smollm2-135m").ram_mb
rows = []
for task in tasks:
    part = table[table["family"] == task]
    for way, who in (("one pass", "weak"), ("choose, then fill", "strong")):
        seconds = part[f"{who}_cost"].median()
        rows.append(Row(task, way, part[f"{who}_correct"].mean(), seconds, ram))
pd.DataFrame(rows).drop(columns=["money", "remote"]).round(3)

# %% [markdown]
# `State` says how things are now: who answers, what is loaded, how much memory is free, how busy the machine is. `Goal` says what a task must keep to. The router looks at both at *every* request:

# %%
ways = frozenset(row.model for row in rows)
now = {"state": State(ways, loaded=ways)}
slow = max(row.seconds for row in rows if row.task == tasks[0])
by_table = TableRouter(rows, lambda: now["state"], {tasks[0]: Goal(seconds=2 * slow)})


def decided(priority="balanced"):
    """What the table says for the first task."""
    decision = by_table.route(
        RouteRequest("a request", task=tasks[0], priority=priority)
    )
    return f"{decision.target} | {decision.reason} | mark {decision.mark!r}"


for priority in ("quality", "balanced", "speed"):
    print(f"{priority:9}", decided(priority))

# %%
for name, state in (
    ("busy machine", State(ways, loaded=ways, load=5)),
    ("one way is out", State(frozenset(["one pass"]), loaded=ways)),
    ("memory is full", State(ways, free_mb=ram / 2)),
):
    now["state"] = state
    try:
        print(f"{name:14}", decided())
    except BackendUnavailable as error:
        print(f"{name:14}", error)

# %% [markdown]
# How to read it: `late` marks an answer that will miss its latency target, because no model is quick enough at this load. When memory is full and nothing is loaded, the honest answer is an error that says so. And the table *stays* with a model that is
# nearly as good as the best one: changing models costs a load each time.

# %% [markdown]
# ## 11 · What we found
#
# The claims again, beside the recorded outcomes:

# %%
missing = strong.mean() - weak.mean()
ratio = table["strong_cost"].median() / table["weak_cost"].median()
reached = metrics.apgr(1 - p_right, *right)
found = {
    "70-80% of the tasks": f"{weak.mean():.0%} right, of {len(table)} requests",
    "10-30 times cheaper": f"{ratio:.1f} times (seconds, recorded)",
    "under a second": f"{(live['weak_cost'] < 1).mean():.0%} of the live ones, just now",
    "large where needed": f"gap {missing:.0%}, predictor's APGR {reached:.2f}",
}
pd.Series(found, name="measured here").rename_axis("claim").to_frame()

# %% [markdown]
# Where the lines contradict the claims, neither must be wrong. Ours is a model of 135 million parameters with a strict rule (every argument right), and a dear way that is the same model. What carries over to your system is not the numbers but the *procedure*: record outcomes of both tiers on your own requests,
# split by family, calibrate, draw the curve, give intervals.
#
# **With a bigger model**: name it in the load line (lab 01, section 10), and the live part measures it. To get a whole table for your pair, run `labkit bench route`.

# %% [markdown] nbgrader={"schema_version": 3, "grade": true, "solution": true, "locked": false, "task": false, "grade_id": "lab08-written", "points": 3}
# **Question.** Your company's support desk sends all requests to a hosted large model. A supplier offers a router with a small model on your own server: "It handles 80% of the requests locally, at 95% of the quality, and costs a twentieth."
#
# Answer in about ten sentences, with numbers from *your* run: (a) Which measurements would you ask for before you believe each of the three numbers, and on which requests? (b) The supplier shows a curve against an expert that is always right. What is wrong with it, and what changed in your run?
# (c) Customers' requests hold personal data. What would you accept as a guarantee that they stay on your server, and why is a high threshold none?
#
# ### BEGIN SOLUTION
# A good answer has these points; a point for each part.
#
# (a) Outcomes of both tiers on *our own* requests, split by family so that nothing is tested on what it was fitted to. 80% local is a share, and means little without the quality at that share: ask for the curve, and PGR or right answers at 20% dear (own figure, such as quality at 0.2 or CPT(50)).
# 95% of which quality, judged by what, with which interval (own intervals, which are wide). A twentieth: per token, per request or per right answer; a cascade pays the small answer always, and the server costs when idle; prices need a date. In this lab the measured ratio was far from 20 (own figure).
#
# (b) A perfect expert is simulated. It does no harm anywhere and makes the gap wide, so each escalation looks worth it. In the run: the measured dear way was wrong in (own figure) and harmed some requests where the cheap way was right; quality at a quarter dear was (figure) instead of (figure).
#
# (c) A construction, not a probability: private requests handled by a part that has no connection to the large model (LocalOnly), network rules that block it, a test that counts what reached the large model. A threshold is a statement about confidence: a private request can be an unsure one, or fail a check, and then it escalates.
# Detection by patterns misses what it does not know (names, diagnoses), so the default should be private where in doubt, or everything local.
# ### END SOLUTION

# %% [markdown]
# ## Recap
#
# - **Outcomes of both tiers** on the same requests come first. Only *cheap wrong, dear right* pays for routing.
# - **Rules** are for what must hold. What sounds plausible ("long is hard") is measured like everything else.
# - The small model's **margin** predicts its failures; the **AUC** says how well, without a threshold.
# - **Isotonic regression** makes a probability of a score; the **ECE** with equal-mass bins tests it, on other families.
# - The **curve** shows quality against share; **APGR** and **CPT** sum it up; *random* and *oracle* are its frame. A perfect expert is **simulated**.
# - A **cascade** pays the small answer always. **Budgets** brake, thresholds choose.
# - Privacy is a **missing wire**, not a high threshold. When the large model is down, the small answer stands, **marked**.

# %% [markdown]
# ## Break it
#
# Predict first, then try. Make new cells at the end of the notebook.
#
# 1. Fit the predictor on the *test* families as well (`Predictor.fit` on `table`), and draw its curve on `test`. How much does it gain, and why do you not believe it?
# 2. Split by request instead of by family (`table["test"] = table.index % 2` before section 5). What happens to AUC and ECE?
# 3. Use the squared margin as score. What does the AUC say, what the isotonic regression? And `-margin_min`?
# 4. Give `metrics.curve` a constant gain. Which curve comes out, and why?
# 5. Swap weak and strong. What does `metrics.apgr` say, and is it right?
# 6. Write a request that is private and that `holds_private_data` does not recognise. What would you do about it?
# 7. Learn a second predictor for the dear way (`strong_correct`), and use `ClassifierRouter(predictor, strong=second)`. For which requests does it save money?
# 8. Let a clock go backwards: `Budget(money=1, clock=iter([5.0, 3.0, 4.0]).__next__)`, then `admit(Price(0.1))` twice. Which mark comes back, and why is that the safe choice?

# %% [markdown]
# ## What is next
#
# In **Lab 09 · Teams** a request does not go to a larger model but to a *specialist*, and several agents work on one request.
