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
#     lab: lab02
#     needs: [score, schema]
# ---

# %% [markdown]
# # Lab 02 · Four kinds of agent
#
# **What you will build.** Four agents without any language model: a thermostat, a vacuum cleaner, a route planner and a recommender. Each is of
# another kind, and each gets a measure of success. Then a small language model moves into the thermostat and is compared with a rule of one line.
# The lab ends with your first tool-using agent, fifteen lines long.
#
# | | |
# | --- | --- |
# | **Time** | about 2 hours |
# | **You need** | Lab 01; Python functions, lists, dicts and classes. You will meet queues (`deque`, `heapq`); each is shown before you need it. |
# | **You do not need** | a GPU, an account, an API key, or the network |
# | **Points** | 20: eight checks (17) and one written question (3) |

# %% [markdown]
# **After this lab you can**
#
# 1. describe any agent by its percepts, its actions, its state and its measure of success;
# 2. tell the four classical kinds apart: reflex, model-based, goal-based, learning;
# 3. write one of each: hysteresis, a belief with exploration, A\* search, an epsilon-greedy bandit;
# 4. let a language model decide by `score`, so that it can choose legal actions only, and correct its bias towards a word;
# 5. say with figures of your own when a rule beats the model, and when the model beats the rule;
# 6. write an agent that picks a tool, fills in its arguments and runs it, and name what is not dependable about it yet.

# %%
import heapq
import json
import math
import time
from collections import Counter, deque
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import psutil

import labkit
from labkit import Client, assistant, check, system, user
from labkit.backends import ScriptedBackend
from labkit.plots import show

# %% [markdown]
# ## 1 · What is an agent?
#
# An **agent** perceives its environment and chooses actions that serve a goal. What it perceives is a **percept**. What it does is an **action**.
# The rule by which it chooses is its **policy**. What it keeps from one decision to the next is its **state**.

# %% [markdown]
# ![The loop of every agent. The environment sends a percept to the agent. The agent decides, with its policy and its state. It sends an action back, which changes the environment. A measure of success looks at the environment from outside.](images/lab02_loop.svg)

# %% [markdown]
# Note where the **measure of success** stands: outside. The agent does not grade itself. Whoever builds an agent writes down the measure first, or else
# cannot say later whether the agent is any good.

# %% [markdown]
# The loop in code. It runs every agent of this lab, whatever its kind, and it also takes the time that the agent needs to decide:


# %%
def run(world, agent, steps):
    """Perceive, decide, act, `steps` times. Returns the seconds spent deciding."""
    deciding = 0.0
    for _ in range(steps):
        percept = world.percept()
        started = time.perf_counter()
        action = agent(percept)
        deciding += time.perf_counter() - started
        world.act(action)
    return deciding


# %% [markdown]
# An agent is anything that can be called with a percept and returns an action. A world is anything with `percept()` and `act(action)`.
# That is all the framework that this lab needs.

# %% [markdown]
# ### Four kinds
#
# The classical division asks one question: *what does the decision look at?*

# %% [markdown]
# ![Four panels. Simple reflex, a thermostat: the percept goes through a rule to the action. Model-based, a vacuum cleaner: percept and memory together go through a rule. Goal-based, a route planner: a map and a goal go through a search. Learning, a recommender: the outcome of each action flows back and changes the policy.](images/lab02_kinds.svg)

# %% [markdown]
# | kind | the decision looks at | here | in the field |
# | --- | --- | --- | --- |
# | **simple reflex** | the percept of this moment | thermostat | alarms, basic automation |
# | **model-based** | the percept, and a remembered picture of the world | vacuum cleaner | robots, navigation |
# | **goal-based** | where actions would lead, and whether that is the goal | route planner | task and route planning |
# | **learning** | what earlier actions brought | recommender | recommendations, personal assistants |

# %% [markdown]
# ### Autonomy, deployment, cost
#
# Three questions come with every agent. Keep them in mind; the table at the end of the lab comes back to them.
#
# - **Autonomy.** What may it do without asking a person? A thermostat may heat all night. It may not order oil. Autonomy is granted *action by action*.
# - **Deployment.** Where can it run? All agents of this lab run on the device, in this process, without the network. No percept leaves the machine.
# - **Cost.** What does one decision cost, in time and memory, and how many are there in a day? That decides whether a large model, a small one, or a
#   plain rule should make it.

# %% [markdown]
# For the table at the end we collect what we measure. `note` keeps one row for each agent. What an agent remembers is counted in bytes, as its state
# would be written to disk:

# %%
results = {}


def note(agent, kind, success, state, rate):
    """Keep a row for the table at the end; rate is in decisions per second."""
    results[agent] = (kind, success, f"{len(json.dumps(state)):,} B", rate)


# %% [markdown]
# And one function draws all the curves of this lab: a colour *and* a dash for each. You can skip it.


# %%
DASHES = [("-", "#0072B2"), ("--", "#B35900"), (":", "#1f2933"), ("-.", "#5b6670")]


def draw(curves, title, xlabel, ylabel, band=None):
    """Draw {name: values}; `band` shades a range of values."""
    fig, ax = plt.subplots(figsize=(7, 3))
    for (name, values), (dash, colour) in zip(curves.items(), DASHES, strict=False):
        ax.plot(values, dash, color=colour, label=name)
    if band:
        ax.axhspan(*band, color="#9aa5af", alpha=0.25)
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    ends = ", ".join(f"{name} {values[-1]:.1f}" for name, values in curves.items())
    show(fig, alt=f"{title}: {ylabel} against {xlabel}. At the end: {ends}.")


# %% [markdown]
# ## 2 · Simple reflex: the thermostat
#
# A reflex agent maps the percept of this moment to an action. It needs a world. Ours is a **simulated** room: it loses heat to the cold outside, and a
# heater warms it. One step is one minute. The sensor is a little noisy, as sensors are.


# %%
class Room:
    """A simulated room. One step is one minute, temperatures are in °C."""

    def __init__(self, seed=0):
        self.temperature, self.heating = 16.0, False
        self.noise = np.random.default_rng(seed)
        self.temperatures, self.switchings = [], 0

    def percept(self):
        return self.temperature + self.noise.normal(0, 0.1), self.heating

    def act(self, heating):
        self.switchings += heating != self.heating
        self.heating = heating
        self.temperature += 0.25 * heating - 0.01 * (self.temperature - 5.0)
        self.temperatures.append(self.temperature)


# %% [markdown]
# The percept is a pair: the measured temperature, and whether the heater is on. The action is `True` (heat) or `False` (off).
# Here is the first idea that everybody has:


# %%
def naive(percept):
    """Heat whenever it is below 20 °C."""
    temperature, _heater_is_on = percept
    return temperature < 20.0


# %% [markdown]
# And the measure of success. There are two parts, because a thermostat can fail in two ways: people are cold or hot, or the heater wears out
# from being switched all the time.


# %%
def comfort(temperatures, low=19.0, high=21.0):
    """Share of the time between `low` and `high` °C."""
    return float(np.mean([low <= t <= high for t in temperatures]))


# %% tags=["nbval-check-output"]
room = Room()
run(room, naive, steps=24 * 60)
print(f"naive thermostat, simulated day: {comfort(room.temperatures):.1%} comfortable")
print(f"the heater was switched {room.switchings} times in that simulated day")

# %% [markdown]
# Comfortable, but look at the switchings. Near 20 °C the tiniest noise flips the decision. A real burner would not live long.

# %% [markdown]
# ### Exercise 1 · Hysteresis
#
# The cure has a name: **hysteresis**. Two limits instead of one. Below the lower limit heat, above the upper limit do not, and *in between leave
# the heater as it is*.
#
# With a target of 20 °C and a band of 0.5 °C on either side:
#
# | temperature | heater now | answer | because |
# | --- | --- | --- | --- |
# | 19.2 | off | `True` | below 19.5: heat |
# | 20.3 | on | `True` | in between: stay on |
# | 20.3 | off | `False` | in between: stay off |
# | 20.7 | on | `False` | above 20.5: off |


# %% nbgrader={"schema_version": 3, "grade": false, "solution": true, "locked": false, "task": false, "grade_id": "thermostat"}
def thermostat(temperature, heating, target=20.0, band=0.5):
    """A thermostat with hysteresis.

    temperature: float, in °C.  heating: bool, whether the heater is on now.  target,
    band: floats, in °C.
    Returns a bool, whether the heater should be on:
    True below target - band, False above target + band, otherwise `heating` (also
    exactly at a limit).
    """
    ### BEGIN SOLUTION
    if temperature < target - band:
        return True
    if temperature > target + band:
        return False
    return heating
    ### END SOLUTION


# %% [markdown]
# The check also lets your thermostat run for a simulated day, beside the naive one, and draws both:


# %%
DAY = 24 * 60


def compare_thermostats(agents):
    """Run thermostats for a simulated day; print their measures, draw four hours."""
    curves = {}
    for name, agent in agents.items():
        room = Room()
        seconds = run(room, agent, DAY)
        share = comfort(room.temperatures)
        success = f"{share:.0%} comfortable, {room.switchings} switchings"
        print(f"{name:11} {success} (simulated day)")
        curves[name] = room.temperatures[:240]
    axes = "simulated minutes", "simulated °C"
    draw(curves, "Thermostats, simulated", *axes, band=(19, 21))
    note("thermostat", "simple reflex", f"{success} (simulated)", [], DAY / seconds)


# %% nbgrader={"schema_version": 3, "grade": true, "solution": false, "locked": true, "task": false, "grade_id": "lab02-hysteresis", "points": 2}
with check(
    "lab02-hysteresis",
    hint="Two comparisons come first. What is left over returns `heating` unchanged.",
) as expect:
    expect.equal(thermostat(19.2, False), True, "19.2 °C, heater off")
    expect.equal(thermostat(20.3, True), True, "20.3 °C, heater on")
    expect.equal(thermostat(20.3, False), False, "20.3 °C, heater off")
    expect.equal(thermostat(20.7, True), False, "20.7 °C, heater on")
    expect.equal(thermostat(20.5, True), True, "exactly at the upper limit, heater on")
    expect.equal(
        thermostat(16.9, False, target=18.0, band=1.0), True, "another target and band"
    )
    mine = {"naive": naive, "hysteresis": lambda percept: thermostat(*percept)}
    compare_thermostats(mine)

# %% [markdown]
# How to read it. Grey is the comfort band. Both agents keep the room inside it for about the same share of the day: the cold start at 16 °C is all that they
# lose. But with hysteresis the temperature swings slowly between the two limits, and the heater is switched only at the turning points.
#
# The price is the swing itself. A wider band means fewer switchings and less comfort. Nobody can find the right band without the measure.

# %% [markdown]
# A reflex agent has no memory of its own; the thermostat's only "state", the heater being on, comes in with the percept. It is the cheapest kind there is.
# It is enough whenever *the present percept tells all that the decision needs*.

# %% [markdown]
# ## 3 · Model-based: the vacuum cleaner
#
# Now a world where the present percept does not tell enough. A robot cleans a house (simulated again). It feels dirt under itself and the walls beside itself,
# and it knows in which cell it is. It does **not** see the house. Such a world is called **partially observable**.

# %% tags=["nbval-check-output"]
HOUSE = [
    "....#...*..",
    ".##.#.###.*",
    ".*...*#....",
    "##.##.#.##.",
    "*..#....*#.",
    ".#.#.##.#..",
    ".#*...#*.*.",
]
print("\n".join(HOUSE))
print(sum(row.count("*") for row in HOUSE), "dirty cells (*), walls are #")

# %%
DIRECTIONS = {"north": (-1, 0), "south": (1, 0), "west": (0, -1), "east": (0, 1)}


class House:
    """A simulated house. A cell is [row, column], from [0, 0] at the top left."""

    def __init__(self, plan):
        self.grid = [list(row) for row in plan]
        self.position, self.cleaned = [0, 0], [0]

    def next_to(self, direction):
        """The neighbouring cell in a direction, or None where a wall or the edge is."""
        (r, c), (down, right) = self.position, DIRECTIONS[direction]
        r, c = r + down, c + right
        inside = 0 <= r < len(self.grid) and 0 <= c < len(self.grid[0])
        return [r, c] if inside and self.grid[r][c] != "#" else None

    def percept(self):
        r, c = self.position
        free = [d for d in DIRECTIONS if self.next_to(d)]
        return {"position": [r, c], "dirty": self.grid[r][c] == "*", "free": free}

    def act(self, action):
        (r, c), before = self.position, self.cleaned[-1]
        self.cleaned.append(before + (action == "suck" and self.grid[r][c] == "*"))
        if action == "suck":
            self.grid[r][c] = "."
        elif action in DIRECTIONS:
            self.position = self.next_to(action) or self.position


# %% [markdown]
# What does the robot perceive at the start?

# %% tags=["nbval-check-output"]
print(House(HOUSE).percept())

# %% [markdown]
# `free` holds the directions that are not blocked. Actions are `"suck"` and the four directions. The measure of success is the number of **cells
# cleaned within 150 steps**.
#
# First a reflex agent: it cleans what is dirty, and otherwise walks anywhere.


# %%
def reflex_vacuum(rng):
    """An agent without memory."""
    return lambda percept: (
        "suck" if percept["dirty"] else str(rng.choice(percept["free"]))
    )


# %% tags=["nbval-check-output"]
STEPS = 150
walks = []
for seed in range(20):
    house = House(HOUSE)
    run(house, reflex_vacuum(np.random.default_rng(seed)), STEPS)
    walks.append(house.cleaned)
print("cells cleaned by the reflex vacuum in 20 simulated runs:")
print([walk[-1] for walk in walks])


# %% [markdown]
# It is lost. It goes back and forth over clean floor, because it cannot know that it was there a moment ago. It needs a **model** of the world: a
# memory, updated with every percept. What an agent holds to be true about the world is its **belief**.

# %% [markdown]
# ![Left, the world: a small grid with walls, dirt and the robot. Right, the robot's belief about it: visited cells are dots, open cells that it saw but did not visit are small circles, walls that it felt are hatched, and all the others are question marks.](images/lab02_belief.svg)
#
# (The picture shows a smaller house than ours.)

# %% [markdown]
# Our belief is a grid of marks, a list of lists as large as the house:
#
# | mark | the agent believes |
# | --- | --- |
# | `"?"` | I know nothing about this cell |
# | `"#"` | there is a wall |
# | `"o"` | open: I felt that the way is free, but I have not been there |
# | `"."` | visited (in `HOUSE` the same mark means clean floor; here it means that I have been there) |

# %% [markdown]
# ### Exercise 2 · Update the belief
#
# One percept tells about five cells at most: the robot's own, and its four neighbours. In a house of 2 rows and 3 columns:
#
# ```
# belief before      percept                                                                  belief after
# [["?","?","?"],    {"position": [0, 0], "dirty": False, "free": ["east"]}                   [[".","o","?"],
#  ["?","?","?"]]                                                                              ["#","?","?"]]
# ```
#
# East is free, so the cell to the east is open. South is not free, so there is a wall. North and west are outside the grid and have no mark.
# If the cell to the east had been `"."` before, it would stay `"."`: a visited cell remains visited.


# %% nbgrader={"schema_version": 3, "grade": false, "solution": true, "locked": false, "task": false, "grade_id": "update-belief"}
def update_belief(belief, percept):
    """What the agent believes after a percept.

    belief: a list of rows, each a list of the marks "?", "#", "o", ".".
    percept: {"position": [row, column], "dirty": bool, "free": list of directions};
    DIRECTIONS gives (rows, columns) for each direction.
    Returns the belief with these changes (you may change the grid that came in, or a
    copy):
    the own cell becomes "."; a neighbour in a free direction becomes "o" if it was "?",
    and keeps its mark otherwise;
    a neighbour in any other direction becomes "#"; neighbours outside the grid are left
    out. All other cells keep their marks.
    """
    ### BEGIN SOLUTION
    row, column = percept["position"]
    belief[row][column] = "."
    for direction, (down, right) in DIRECTIONS.items():
        r, c = row + down, column + right
        if not (0 <= r < len(belief) and 0 <= c < len(belief[0])):
            continue
        if direction not in percept["free"]:
            belief[r][c] = "#"
        elif belief[r][c] == "?":
            belief[r][c] = "o"
    return belief
    ### END SOLUTION


# %% nbgrader={"schema_version": 3, "grade": true, "solution": false, "locked": true, "task": false, "grade_id": "lab02-belief", "points": 2}
with check(
    "lab02-belief",
    hint="Go through DIRECTIONS. Skip cells outside the grid: index -1 wraps around.",
) as expect:
    blank = [["?"] * 3 for _ in range(2)]
    after = update_belief(blank, {"position": [0, 0], "dirty": False, "free": ["east"]})
    expect.equal(after, [[".", "o", "?"], ["#", "?", "?"]], "the example of the text")
    after = update_belief(
        after, {"position": [0, 1], "dirty": True, "free": ["west", "south"]}
    )
    expect.equal(after, [[".", ".", "#"], ["#", "o", "?"]], "one cell further east")
    last = [[".", ".", "#"], ["#", ".", "o"]]
    after = update_belief(last, {"position": [1, 2], "dirty": False, "free": ["west"]})
    expect.equal(after, [[".", ".", "#"], ["#", ".", "."]], "in the far corner")

# %% [markdown]
# ### Exercise 3 · Explore
#
# With a belief the robot can do better than walk anywhere: it goes to the **nearest open cell that it has not visited**, over cells that it knows. "Nearest"
# calls for **breadth-first search** (BFS): look at all cells one step away, then two steps away, and so on, until an `"o"` turns up. (The check lets the whole agent run, so it needs exercise 2 as well.)

# %% [markdown]
# BFS lives on a queue: take from the left, append to the right. Cells that were found first are looked at first. `deque` is Python's queue:

# %% tags=["nbval-check-output"]
queue = deque(["found first"])
queue.append("found second")
print(queue.popleft(), "| still waiting:", list(queue))

# %% [markdown]
# Each item in the queue can carry the *first direction* of the way that led to it. Then the answer is there as soon as an `"o"` is reached. An example: in
#
# ```
# belief  [[".", ".", "o"],
#          ["o", "#", "?"]]
# ```
#
# from `[0, 1]` the answer is `"east"` (one step). From `[0, 0]` it is `"south"` (one step), not `"east"` (two steps). Where two ways are equally short, either is fine.


# %% nbgrader={"schema_version": 3, "grade": false, "solution": true, "locked": false, "task": false, "grade_id": "next-move"}
def next_move(belief, position):
    """The first step of a shortest way to an open, unvisited cell.

    belief: a list of rows of marks, as in `update_belief`.  position: [row, column] of
    a cell marked ".".
    The way leads in the four DIRECTIONS over cells marked "." and ends at one marked
    "o"; "#" and "?" cannot be entered.
    Returns a direction, such as "east", or None if no such cell can be reached. The
    belief is not changed.
    """
    ### BEGIN SOLUTION
    queue, seen = deque([(tuple(position), None)]), {tuple(position)}
    while queue:
        (row, column), first = queue.popleft()
        if belief[row][column] == "o":
            return first
        for direction, (down, right) in DIRECTIONS.items():
            r, c = row + down, column + right
            inside = 0 <= r < len(belief) and 0 <= c < len(belief[0])
            if inside and belief[r][c] in ".o" and (r, c) not in seen:
                seen.add((r, c))
                queue.append(((r, c), first or direction))
    return None
    ### END SOLUTION


# %% [markdown]
# The agent puts your two functions together. Its only state is the belief.


# %%
class ModelVacuum:
    """Remembers the house, and goes to the nearest cell that it has not visited."""

    def __init__(self, rows, columns):
        self.belief = [["?"] * columns for _ in range(rows)]

    def __call__(self, percept):
        self.belief = update_belief(self.belief, percept)
        if percept["dirty"]:
            return "suck"
        return next_move(self.belief, percept["position"]) or "stay"


# %%
def watch_vacuum(agent, moments=(1, 20, 45)):
    """Run the vacuum; print its belief at some steps. Returns (cleaned, seconds)."""
    house, seconds = House(HOUSE), 0.0
    for step in range(1, STEPS + 1):
        seconds += run(house, agent, 1)
        if step in moments:
            print(f"belief after step {step}", *map("".join, agent.belief), sep="\n")
    return house.cleaned, seconds


def compare_vacuums():
    """The model-based vacuum beside 20 reflex runs: mean, best and worst at each step."""
    agent = ModelVacuum(len(HOUSE), len(HOUSE[0]))
    cleaned, seconds = watch_vacuum(agent)
    best, mean, worst = (f(walks, axis=0) for f in (np.max, np.mean, np.min))
    curves = {"model-based": cleaned, "reflex, best at each step": best}
    curves |= {"reflex, mean": mean, "reflex, worst at each step": worst}
    draw(curves, "Memory, simulated", "simulated steps", "cells cleaned (simulated)")
    success = f"{cleaned[-1]} cells in {STEPS} steps (simulated)"
    print(f"{success}; reflex vacuum: {mean[-1]:.1f} on average (simulated)")
    note("vacuum", "model-based", success, agent.belief, STEPS / seconds)


# %% nbgrader={"schema_version": 3, "grade": true, "solution": false, "locked": true, "task": false, "grade_id": "lab02-explore", "points": 2}
with check(
    "lab02-explore",
    hint="Queue (cell, first direction). Keep a set of cells already queued.",
) as expect:
    small = [[".", ".", "o"], ["o", "#", "?"]]
    expect.equal(next_move(small, [0, 1]), "east", "the example, from [0, 1]")
    expect.equal(next_move(small, [0, 0]), "south", "the example, from [0, 0]")
    expect.equal(
        next_move([[".", "#", "o"], [".", ".", "."]], [0, 0]), "south", "around a wall"
    )
    expect.equal(
        next_move([[".", "?", "o"], [".", "#", "o"]], [0, 0]),
        None,
        "an open cell behind unknown ones cannot be reached",
    )
    expect.equal(
        next_move([[".", "."], [".", "#"]], [0, 0]), None, "nothing left to explore"
    )
    compare_vacuums()

# %% [markdown]
# How to read it. Watch the question marks go: each percept turns some of them into knowledge. The solid line rises steadily, because no step is spent on
# finding out again what was known before, and then it stays flat: the agent *knows* that it is done.
#
# The three other lines show how much luck the reflex agent has. Same sensors, same actions, same house. The difference is memory.

# %% [markdown]
# ## 4 · Goal-based: the route planner
#
# The vacuum cleaner looks for the next good cell. A **goal-based** agent looks further: it imagines where *sequences* of actions would lead, and picks
# one that reaches the goal. For that it needs a map. Here is a small town, made up for this lab. Positions and lengths are in km.

# %%
PLACES = {
    "Station": (0.8, 4.8), "Museum": (2.4, 5.6), "Quay": (2.2, 3.6),
    "Mill": (0.6, 3.2), "Library": (4.0, 6.2), "Market": (3.9, 4.0),
    "Steps": (4.7, 3.2), "University": (5.2, 5.4), "Stadium": (7.0, 5.8),
    "Tower": (6.9, 4.2), "Millgate": (0.7, 2.2), "Zoo": (0.6, 0.8),
    "Park": (2.0, 1.4), "Brewery": (3.2, 0.5), "Castle": (4.6, 1.4),
    "Garden": (5.8, 0.5), "Theatre": (6.8, 2.5), "School": (8.2, 1.8),
    "Airport": (9.2, 4.6),
}  # fmt: skip
LENGTHS = {
    "Station": {"Museum": 2.0, "Quay": 2.0, "Mill": 1.7},
    "Museum": {"Library": 1.8, "Quay": 2.1, "Market": 2.4},
    "Quay": {"Market": 1.9, "Mill": 1.8}, "Library": {"University": 1.6},
    "Market": {"University": 2.1, "Steps": 1.3, "Tower": 3.3},
    "University": {"Stadium": 2.0, "Tower": 2.3},
    "Stadium": {"Tower": 1.8, "Airport": 2.8},
    "Tower": {"Theatre": 1.8, "Airport": 2.6}, "Mill": {"Millgate": 1.2},
    "Millgate": {"Zoo": 1.6, "Park": 1.7}, "Zoo": {"Park": 1.7, "Brewery": 2.8},
    "Park": {"Brewery": 1.7, "Castle": 3.1}, "Brewery": {"Castle": 1.9},
    "Castle": {"Garden": 1.7, "Theatre": 2.8},
    "Garden": {"Theatre": 2.6, "School": 3.0}, "Theatre": {"School": 1.8},
}  # fmt: skip

# %% [markdown]
# Every road can be driven both ways. `ROADS[a][b]` is the length of the road from `a` to `b`:

# %% tags=["nbval-check-output"]
ROADS = {place: {} for place in PLACES}
for a, neighbours in LENGTHS.items():
    for b, km in neighbours.items():
        ROADS[a][b] = ROADS[b][a] = km
print(len(PLACES), "places; from the Market:", ROADS["Market"])


# %%
def draw_map(title, path=(), order=()):
    """Draw the town, a path, and the expanded places with their numbers."""
    fig, ax = plt.subplots(figsize=(7, 4.6))
    ax.axhspan(2.68, 3.02, color="#dbeaf5")
    for start, end in ((p, near) for p in ROADS for near in ROADS[p]):
        ends = zip(PLACES[start], PLACES[end], strict=True)
        ax.plot(*ends, color="#9aa5af", linewidth=1)
    if path:
        ax.plot(*zip(*map(PLACES.get, path), strict=True), color="#B35900", linewidth=5)
    for name, at in PLACES.items():
        label = f"{order.index(name) + 1} {name}" if name in order else name
        style = {"facecolor": "#bfdcf0" if name in order else "white", "pad": 2}
        ax.annotate(label, at, ha="center", va="center", fontsize=8, bbox=style)
    ax.set(title=title, xlabel="km", ylabel="km", xlim=(-0.3, 10), ylim=(0, 6.7))
    way = f" Path: {', '.join(path)}." if path else ""
    done = f" Expanded in this order: {', '.join(order)}." if order else ""
    show(fig, alt=f"{title}. Map of 19 places and their roads; a river.{way}{done}")


draw_map("The town")


# %% [markdown]
# The blue band is a river. Only two roads cross it: Mill to Millgate in the west, and Tower to Theatre in the east.
#
# We want to drive from the **Museum** to the **Castle**. The measure of success is the length of the drive compared with the shortest one. A reflex agent for this: at each
# crossing, take the road whose end is nearest to the goal as the crow flies. Like a compass.


# %%
class Drive:
    """A car in the town. The percept is the place; the action is the next place."""

    def __init__(self, start):
        self.visited = [start]

    def percept(self):
        return self.visited[-1]

    def act(self, place):
        self.visited.append(place)


# %% tags=["nbval-check-output"]
def compass(place):
    """The neighbouring place that is nearest to the Castle, as the crow flies."""
    to_castle = {
        near: math.dist(PLACES[near], PLACES["Castle"]) for near in ROADS[place]
    }
    return min(to_castle, key=to_castle.get)


drive = Drive("Museum")
run(drive, compass, steps=6)
print(" > ".join(drive.visited))


# %% [markdown]
# It drives down to the river, sees the Castle on the other side, and goes back and forth before it forever. To turn *away* from the goal first, an agent must look ahead.

# %% [markdown]
# ### Search
#
# Planning is search in imagination. You know BFS from the vacuum cleaner. Here it is for the map, in full, since you will build on it. The queue of places that were found but not yet looked
# at is called the **frontier**. To look at a place's roads is to **expand** it. `came_from` remembers how each place was reached.


# %%
def path_to(place, came_from):
    """Walk back from a place to the start. Returns the path from start to place."""
    path = [place]
    while came_from[path[-1]] is not None:
        path.append(came_from[path[-1]])
    return path[::-1]


# %%
def fewest_roads(roads, start, goal):
    """Breadth-first search: a path with as few roads as possible. Prints its frontier."""
    frontier, came_from = deque([start]), {start: None}
    while frontier:
        place = frontier.popleft()
        if place == goal:
            return path_to(goal, came_from)
        for neighbour in roads[place]:
            if neighbour not in came_from:
                came_from[neighbour] = place
                frontier.append(neighbour)
        print(f"{place:10} expanded, frontier {len(frontier)}: {', '.join(frontier)}")


# %% tags=["nbval-check-output"]
def length(path):
    """Kilometres of a path."""
    return sum(ROADS[a][b] for a, b in pairwise(path))


route = fewest_roads(ROADS, "Museum", "Castle")
print(f"\n{' > '.join(route)}: {len(route) - 1} roads, {length(route):.1f} km")

# %% [markdown]
# Read the trace from the top. The search moves outward in rings around the start, in all directions, also away from the Castle. And the answer has the fewest *roads*, not the
# fewest *kilometres*.
#
# Two ideas mend that, one each.

# %% [markdown]
# **Idea 1: expand the cheapest first.** Do not take the place that was found first, but the one with the smallest cost $g$: kilometres driven from the start.
# This is **uniform-cost search**. It finds the shortest way. It needs a queue that always gives back its smallest item, a *heap*:

# %% tags=["nbval-check-output"]
frontier = []
for item in [(2.4, "Market"), (1.8, "Library"), (2.0, "Station")]:
    heapq.heappush(frontier, item)
print(heapq.heappop(frontier), "comes out first; then", heapq.heappop(frontier))

# %% [markdown]
# **Idea 2: look where the goal is.** Add to $g$ an estimate $h$ of the kilometres that are still to go, and expand the place with the smallest $f = g + h$. That is **A\***.
#
# ![A start, a place in the middle and a goal. The winding road from the start to the place is g, known. The dashed straight line from the place to the goal is h, a guess that is never too long. Their sum f orders the frontier.](images/lab02_astar.svg)

# %% [markdown]
# The estimate $h$ is called a **heuristic**. If it never overestimates, it is **admissible**, and A\* still finds a shortest way. The straight line is such an estimate: no road is shorter than
# the straight line between its ends. Is that true of our map? Do not believe it, test it (the ratio must never fall below 1):

# %% tags=["nbval-check-output"]
slack = {
    (a, b): km / math.dist(PLACES[a], PLACES[b])
    for a in ROADS
    for b, km in ROADS[a].items()
}
print(f"road length / straight line: {min(slack.values()):.2f} or more")

# %% [markdown]
# ### Exercise 4 · A\*
#
# Write both functions. `fewest_roads` above is a good frame. What changes: the frontier is a heap of `(f, place)`; a dict remembers the smallest `g` found for each
# place; a place that was already found is pushed again when a shorter way to it turns up; an old heap entry of an expanded place is skipped.
#
# On this map of three places, `A` to `B` 1 km, `B` to `C` 1 km, `A` to `C` 3 km, with the estimates `{"A": 1.5, "B": 0.5, "C": 0.0}`, the way from `A` to `C` is
# `{"path": ["A", "B", "C"], "km": 2.0, "order": ["A", "B"]}`. If all estimates are 0, A\* becomes uniform-cost search.


# %% nbgrader={"schema_version": 3, "grade": false, "solution": true, "locked": false, "task": false, "grade_id": "a-star"}
def estimates(places, goal):
    """The straight-line distance to the goal, for every place.

    places: {name: (x, y)} in km.  goal: a name.  Returns {name: km}, with 0.0 for the
    goal itself.
    """
    ### BEGIN SOLUTION
    return {name: math.dist(at, places[goal]) for name, at in places.items()}
    ### END SOLUTION


def a_star(roads, start, goal, estimate):
    """A* search.

    roads: {place: {neighbour: km}}, with an entry for every place.
    start, goal: places.
    estimate: {place: km still to go}; never too high, and it falls by no more than the
    length of the road from one place to the next (so no place is expanded twice).
    Returns None if there is no way, and otherwise a dict:
    "path": list of places from start to goal, a shortest way;  "km": its length;
    "order": list of the expanded places, in the order of expansion, each once.
    To expand a place is to look at its roads. The search ends when the goal comes
    out of the frontier, so the goal is not expanded. From a place to itself the
    order is [].
    """
    ### BEGIN SOLUTION
    frontier = [(estimate[start], start)]
    km, came_from, order = {start: 0.0}, {start: None}, []
    while frontier:
        _, place = heapq.heappop(frontier)
        if place == goal:
            return {"path": path_to(goal, came_from), "km": km[goal], "order": order}
        if place in order:
            continue
        order.append(place)
        for neighbour, road in roads[place].items():
            g = km[place] + road
            if g < km.get(neighbour, math.inf):
                km[neighbour], came_from[neighbour] = g, place
                heapq.heappush(frontier, (g + estimate[neighbour], neighbour))
    return None
    ### END SOLUTION


# %% [markdown]
# The planner agent plans anew at every place. `frontier_sizes` works out how many places were waiting after each expansion.


# %%
class Planner:
    """Plans with A*, then takes the first road of the plan. Plans anew at every place."""

    def __init__(self, roads, goal):
        self.roads, self.goal = roads, goal
        self.estimate = estimates(PLACES, goal)

    def __call__(self, place):
        plan = a_star(self.roads, place, self.goal, self.estimate)
        return (plan["path"] + [place])[1]


def frontier_sizes(start, order):
    """How many places were found and not yet expanded, after each expansion."""
    found, sizes = {start}, []
    for i, place in enumerate(order, 1):
        found |= set(ROADS[place])
        sizes.append(len(found - set(order[:i])))
    return sizes


# %%
def compare_searches(start="Museum", goal="Castle"):
    """Draw what uniform-cost search and A* expand on the way to the goal."""
    nothing, straight = dict.fromkeys(PLACES, 0.0), estimates(PLACES, goal)
    for name, estimate in (("uniform-cost search", nothing), ("A*", straight)):
        found = a_star(ROADS, start, goal, estimate)
        title = f"{name}: {found['km']:.1f} km, {len(found['order'])} places expanded"
        draw_map(title, found["path"], found["order"])
        print("frontier after each:", *frontier_sizes(start, found["order"]))


def drive_with_plans(start="Museum", goal="Castle"):
    """Let the planner drive; then close the west bridge and plan again."""
    planner, drive = Planner(ROADS, goal), Drive(start)
    best = a_star(ROADS, start, goal, planner.estimate)
    seconds = run(drive, planner, len(best["path"]) - 1)
    print("driven:", " > ".join(drive.visited))
    closed = {place: dict(near) for place, near in ROADS.items()}
    del closed["Mill"]["Millgate"], closed["Millgate"]["Mill"]
    detour = a_star(closed, start, goal, planner.estimate)
    print(f"bridge closed: {' > '.join(detour['path'])}, {detour['km']:.1f} km")
    km = f"{length(drive.visited):.1f} km, shortest {best['km']:.1f} km (simulated)"
    state = [ROADS, planner.estimate, goal]
    note("planner", "goal-based", km, state, (len(best["path"]) - 1) / seconds)


# %% nbgrader={"schema_version": 3, "grade": true, "solution": false, "locked": true, "task": false, "grade_id": "lab02-astar", "points": 3}
with check("lab02-astar", hint="Return when the goal comes OUT of the heap.") as expect:
    got = estimates({"A": (0, 0), "B": (3, 4)}, "B")
    expect.close([got["A"], got["B"]], [5.0, 0.0], "straight-line distances")
    tiny = {
        "A": {"B": 1, "C": 3},
        "B": {"A": 1, "C": 1},
        "C": {"A": 3, "B": 1},
        "D": {},
    }
    guess = {"A": 1.5, "B": 0.5, "C": 0.0, "D": 0.0}
    found = a_star(tiny, "A", "C", guess)
    expect.equal(found["path"], ["A", "B", "C"], "path of the example")
    expect.close(found["km"], 2.0, "length of the example")
    expect.equal(found["order"], ["A", "B"], "expanded places of the example")
    expect.equal(a_star(tiny, "A", "D", guess), None, "where no road leads")
    expect.equal(a_star(tiny, "C", "C", guess)["order"], [], "from C to C")
    for guess in (dict.fromkeys(PLACES, 0.0), estimates(PLACES, "Castle")):
        found = a_star(ROADS, "Museum", "Castle", guess)
        expect.close(found["km"], 9.7, "km from the Museum to the Castle")
    compare_searches()
    drive_with_plans()


# %% [markdown]
# How to read it. Both searches find the same shortest way: it turns *away* from the Castle first, to the west bridge. Uniform-cost search expands almost the whole town. A\* leaves out the places from
# which the Castle could not be reached more cheaply even in a straight line. On a map of a country that is the difference between a moment and a minute.
#
# Note the last lines: nobody wrote a rule for a closed bridge. A goal-based agent gets a new map and finds a new way. That flexibility is what the search buys.

# %% [markdown]
# ## 5 · Learning: the recommender
#
# The first three agents were told how their world works. A **learning** agent finds out. Ours recommends one article to each reader who comes along, from one of five genres. It sees
# only whether the reader clicks.

# %%
GENRES = ["local news", "sport", "science", "cooking", "travel"]
CLICKS = [0.06, 0.11, 0.09, 0.20, 0.13]


class Readers:
    """Simulated readers. Each genre has a click probability that the agent cannot see."""

    def __init__(self, seed):
        self.rng, self.last, self.regret = np.random.default_rng(seed), None, [0.0]

    def percept(self):
        return self.last

    def act(self, arm):
        clicked = int(self.rng.random() < CLICKS[arm])
        self.last = (arm, clicked)
        self.regret.append(self.regret[-1] + max(CLICKS) - CLICKS[arm])


# %% [markdown]
# This is the **multi-armed bandit**, named after slot machines: several arms, each pays with an unknown probability, and you learn about an arm only by pulling it.
#
# The percept is the outcome of the last action: `(arm, clicked)`, with `clicked` 1 or 0, and `None` before the first reader. The **reward** is the click.

# %% [markdown]
# The measure of success is **regret**: how many more clicks, on average, an agent would have got that knew the best genre from the beginning. Random choice first:

# %% tags=["nbval-check-output"]
readers, rng = Readers(seed=0), np.random.default_rng(1)
run(readers, lambda percept: int(rng.integers(len(GENRES))), steps=2000)
print(
    f"random choice: regret {readers.regret[-1]:.0f} clicks after 2000 simulated readers"
)

# %% [markdown]
# Random choice never stops paying. The other extreme is greedy: always the genre with the best average so far. It may settle on a poor genre after one lucky click and never try the others
# again. The agent has to weigh **exploration** (learn more) against **exploitation** (use what it knows).

# %% [markdown]
# **Epsilon-greedy** is the simplest answer that works: with a small probability $\varepsilon$ try any genre, otherwise take the best so far.
#
# The averages need no history. When the $n$-th reward $r$ of an arm comes in, its mean moves a step of $1/n$ towards it:
#
# $$\text{mean} \leftarrow \text{mean} + \frac{r - \text{mean}}{n}$$

# %% [markdown]
# ### Exercise 5 · Epsilon-greedy
#
# Two functions: choose, and learn. Examples:
#
# - `choose_arm([0.1, 0.5, 0.2], 0.0, rng)` gives `1`: without exploration, the arm with the highest mean.
# - `learn([1, 0], [0.0, 0.0], 0, 1)` gives `([2, 0], [0.5, 0.0])`: the second reward of arm 0 is a 1, its first was a 0.
# - `rng.random()` is a number between 0 and 1; `rng.integers(5)` is one of 0 to 4, all equally likely.


# %% nbgrader={"schema_version": 3, "grade": false, "solution": true, "locked": false, "task": false, "grade_id": "epsilon-greedy"}
def choose_arm(means, epsilon, rng):
    """Epsilon-greedy choice.

    means: list of floats, the mean reward of each arm so far.  epsilon: float from 0 to
    1.  rng: a numpy Generator, the only source of randomness.
    Returns an int, the index of an arm: with probability epsilon any arm, all equally
    likely (the best one too);
    otherwise an arm with the highest mean (any of them, if several share it).
    """
    ### BEGIN SOLUTION
    if rng.random() < epsilon:
        return int(rng.integers(len(means)))
    return int(np.argmax(means))
    ### END SOLUTION


def learn(counts, means, arm, reward):
    """Take one reward into account.

    counts: list of ints, how often each arm was pulled before.  means: list of floats,
    the mean of each arm's rewards; 0.0 for an arm never pulled.
    arm: int, the arm that was pulled.  reward: float.
    Returns (counts, means) with the reward included. You may change the lists that came
    in, or copies.
    """
    ### BEGIN SOLUTION
    counts[arm] += 1
    means[arm] += (reward - means[arm]) / counts[arm]
    return counts, means
    ### END SOLUTION


# %%
class Recommender:
    """Learns from the last click, then chooses."""

    def __init__(self, epsilon, seed):
        self.epsilon, self.rng = epsilon, np.random.default_rng(seed)
        self.counts, self.means = [0] * len(GENRES), [0.0] * len(GENRES)

    def __call__(self, percept):
        if percept:
            self.counts, self.means = learn(self.counts, self.means, *percept)
        return choose_arm(self.means, self.epsilon, self.rng)


# %%
def watch_learning(moments=(10, 100, 1000, 2000)):
    """Print the running averages of one recommender."""
    agent, readers, done = Recommender(0.1, seed=0), Readers(seed=1000), 0
    print(f"{'simulated readers':18}", *(f"{genre:>12}" for genre in GENRES))
    for moment in moments:
        run(readers, agent, moment - done)
        done = moment
        print(f"{moment:<18}", *(f"{mean:>12.2f}" for mean in agent.means))
    print(f"{'shown (simulated)':18}", *(f"{count:>12}" for count in agent.counts))
    print(f"{'true (simulated)':18}", *(f"{p:>12.2f}" for p in CLICKS))


def compare_bandits(rounds=2000, runs=20):
    """Draw the mean regret of three recommenders."""
    curves = {}
    for name, epsilon in (("random", 1.0), ("greedy", 0.0), ("epsilon 0.1", 0.1)):
        regrets, seconds = [], 0.0
        for seed in range(runs):
            agent, readers = Recommender(epsilon, seed), Readers(seed + 1000)
            seconds += run(readers, agent, rounds)
            regrets.append(readers.regret)
        curves[name] = np.mean(regrets, axis=0)
        print(f"{name:12} simulated regret: {curves[name][-1]:.0f} clicks")
    curves = dict(reversed(curves.items()))
    draw(curves, "Regret, simulated", "simulated readers", "clicks lost (simulated)")
    regret = f"regret {curves[name][-1]:.0f} clicks in {rounds} simulated readers"
    note("recommender", "learning", regret, agent.means, rounds * runs / seconds)


# %% nbgrader={"schema_version": 3, "grade": true, "solution": false, "locked": true, "task": false, "grade_id": "lab02-bandit", "points": 2}
with check("lab02-bandit", hint="Raise the count before you divide by it.") as expect:
    rng = np.random.default_rng(0)
    expect.equal(choose_arm([0.1, 0.5, 0.2], 0.0, rng), 1, "without exploration")
    arms = Counter(choose_arm([0.1, 0.5, 0.2, 0.0], 0.5, rng) for _ in range(4000))
    shares = [arms[i] / 4000 for i in range(4)]
    want = [0.125, 0.625, 0.125, 0.125]
    expect.close(shares, want, "how often, with epsilon 0.5", tolerance=0.05)
    counts, means = learn([1, 0], [0.0, 0.0], 0, 1)
    expect.equal(list(counts), [2, 0], "counts of the example")
    expect.close(means, [0.5, 0.0], "means of the example")
    for reward in (1, 0, 0):
        counts, means = learn(counts, means, 1, reward)
    expect.close(means, [0.5, 1 / 3], "after three more rewards")
    watch_learning()
    compare_bandits()


# %% [markdown]
# How to read it. In the table, only the genre that is shown most becomes well known. The averages of the others stay rough, and some are wrong by half. The choice can be right all the same: the agent
# needs the order of the genres, not their exact values.
#
# In the plot, random choice loses at a constant rate. Greedy never looks for something better: it stays with whatever came out on top first. How much that costs depends on luck and on how it breaks ties. With the rule "take the first of equals"
# it begins with the first genre, and whatever that earns, it never finds out about the others.
# Epsilon-greedy bends as soon as it has found the best genre. The gentle slope that remains is the price of its ten percent of exploration.

# %% [markdown]
# The four kinds are not rivals. They are parts: a real agent often has a reflex for emergencies, a model of the world, a planner, *and* something that learns. Next comes a fifth part.

# %% [markdown]
# ## 6 · A language model as the decision maker
#
# Where does a small language model (SLM) belong in an agent? It can be the **policy**: percept in, action out. Let it run the thermostat. In lab 01 you read a decision from a model by `score`:
# the log-probability of each allowed answer. For an agent that is exactly right, because **it can choose legal actions only**.
#
# (The remarks below fit the model that came with the course. A bigger one will differ, and that is worth trying at the end.)


# %%
def memory_mb():
    """Memory of this Python process, in MB."""
    return psutil.Process().memory_info().rss / 1e6


memory_before = memory_mb()

# %%
model = labkit.load()
question = "It is boiling in here. Should the heater be on or off?"
print(model.complete(question, max_tokens=40))

# %% [markdown]
# Prose, but a heater has no input for prose. Now the same model by score. The prompt says what it decides and shows three solved examples; a prompt like that is called
# **few-shot**. The choices are the answers that we allow.

# %%
EXAMPLES = ["My hands are frozen.", "My face is burning.", "My room is lovely."]


def few_shot(answers):
    """A prompt for the thermostat, with one solved example for each of three answers."""
    a, b, c = answers
    task = f"You control the thermostat. Answer with one word: {a}, {b} or {c}."
    messages = [system(task)]
    for sentence, answer in zip(EXAMPLES, answers, strict=True):
        messages += [user(sentence), assistant(answer)]
    return messages


def scores_of(messages, text, choices):
    """{choice: log-probability} as the answer to a text, after a prompt's messages."""
    return {s.choice: s.logprob for s in model.score([*messages, user(text)], choices)}


# %%
ACTIONS = ["heat", "cool", "off"]


def rounded(scores):
    """The same scores with one decimal, for reading."""
    return {choice: round(score, 1) for choice, score in scores.items()}


print(rounded(scores_of(few_shot(ACTIONS), "It is boiling in here.", ACTIONS)))
memory_slm = memory_mb() - memory_before
print(f"the model raised the memory of this process by {memory_slm:.0f} MB")


# %% [markdown]
# ### First contest: numbers
#
# Give the model the percept of section 2, a temperature, and compare with a rule of one line. It gets solved examples with numbers.


# %%
def rule(degrees):
    """What a person feels at a temperature in °C."""
    return "cold" if degrees < 19 else "hot" if degrees > 21 else "fine"


def ask_number(wording, degrees):
    """The model's verdict on a temperature, by score, after three solved examples."""
    messages = few_shot(["cold", "hot", "fine"])[:1]
    for example, answer in ((14, "cold"), (26, "hot"), (20, "fine")):
        messages += [user(wording.format(example)), assistant(answer)]
    messages.append(user(wording.format(degrees)))
    return model.choose(messages, ["cold", "hot", "fine"])


# %%
degrees = list(range(13, 28))
truth = [rule(d) for d in degrees]
print(f"always the same answer: at most {max(Counter(truth).values())} of {len(truth)}")


def contest(name, decide_one):
    """Count right answers on the temperatures. Returns seconds for each decision."""
    started = time.perf_counter()
    answers = [decide_one(d) for d in degrees]
    each = (time.perf_counter() - started) / len(degrees)
    right = sum(a == t for a, t in zip(answers, truth, strict=True))
    print(f"{name}: {right} of {len(truth)} right, {each * 1e3:.4f} ms each")
    print("   ", " ".join(answers))
    return each


# %%
rule_s = contest("rule", rule)
for wording in ("The room is at {} degrees.", "It is {} °C."):
    slm_s = contest(f"SLM, {wording!r}", lambda d, w=wording: ask_number(w, d))
print(f"one SLM decision took {slm_s / rule_s:,.0f} times as long as one of the rule")


# %% [markdown]
# How to read it. The rule is right by definition: it *is* the specification. The model is slower by orders of magnitude. Compare it also with the simplest strategy of all, always the same
# answer. And compare its own two rows: the same question in other words changes its answers. A tiny model knows numbers as words, not as quantities.
#
# **Where you can write the rule, write the rule.** It is right, free, instant, and you can read it.

# %% [markdown]
# ### Second contest: words
#
# But people do not speak in degrees. Here is what they say instead. No thermometer helps with "my teeth are chattering". These 24 sentences were written for the measurement. The prompt and the wording were chosen with other
# sentences, so that we do not grade the model on what we tuned it with.

# %%
SAID = {
    "cold": [
        "My teeth are chattering.", "There is an icy draught under the door.",
        "I put on gloves to type.", "The floor is like ice under my feet.",
        "Could we have a fire in the fireplace?", "I cannot feel my toes.",
        "The water in my glass has frozen.", "I keep my scarf on in bed.",
    ],
    "hot": [
        "I am burning up.", "It is like the tropics in here.",
        "My face is red and I am dripping.", "Somebody open a window, I am baking.",
        "The candles are going soft.", "It is worse than the desert.",
        "I had to take my jumper off.", "I want ice water and a cold shower.",
    ],
    "fine": [
        "This feels wonderful.", "We are happy with the room.",
        "Just right for reading.", "Perfect, thank you.",
        "I would not change a thing.", "Not too cold, not too hot.",
        "What a cosy evening.", "All good.",
    ],
}  # fmt: skip
SENTENCES = [(sentence, feeling) for feeling, said in SAID.items() for sentence in said]
ACTION_FOR = {"cold": "heat", "hot": "cool", "fine": "off"}


# %% [markdown]
# A rule for words is a list of keywords. This one is generous for one line:


# %%
KEYWORDS = {
    "cold": ["cold", "freez", "frozen", "ice", "icy", "shiver", "chilly"],
    "hot": ["hot", "warm", "boil", "burn", "heat", "sweat"],
}


def keyword_rule(sentence):
    """The first feeling with a keyword in the sentence, otherwise "fine"."""
    for feeling, words in KEYWORDS.items():
        if any(word in sentence.lower() for word in words):
            return feeling
    return "fine"


# %% tags=["nbval-check-output"]
missed = [said for said, feeling in SENTENCES if keyword_rule(said) != feeling]
hits = {"keyword rule": len(SENTENCES) - len(missed)}
print(f"right: {hits['keyword rule']} of {len(SENTENCES)}; a blind guess gets 8")
print("missed:", *missed, sep="\n  ")


# %% [markdown]
# Every miss wants one more keyword, and some keywords do harm ("ice water", "not too cold"). Now the model, first with the actions themselves as answers:


# %%
def recount(name, scored, answer_for):
    """Take the best choices; count the right ones. Returns the wrong ones."""
    picked = [max(scores, key=scores.get) for scores in scored]
    right = [answer_for[feeling] for _, feeling in SENTENCES]
    hits[name] = sum(p == r for p, r in zip(picked, right, strict=True))
    print(
        f"{name}: {hits[name]} of {len(picked)} right, picked {dict(Counter(picked))}"
    )
    trios = zip(SENTENCES, picked, right, strict=True)
    return [f"{said} -> {p}" for (said, _), p, r in trios if p != r]


# %%
as_actions = [scores_of(few_shot(ACTIONS), said, ACTIONS) for said, _ in SENTENCES]
wrong = recount("heat/cool/off", as_actions, ACTION_FOR)


# %% [markdown]
# Compare it with the blind guess. Look at what it picked: mostly one and the same word, whatever was said.
#
# A thought helps. "Cool" is what you *do* when somebody is *hot*. That is a small inference, and too much for this model. So let it only **perceive**: which word describes the person? A table then acts.
#
# ![The sentence "my teeth are chattering" goes to the small language model, which scores three words: cold, hot, fine. The scores are calibrated. The best word, cold, goes to a rule, which maps it to an action: heat.](images/lab02_slm.svg)

# %%
FEELINGS = ["cold", "hot", "fine"]
SAME = {feeling: feeling for feeling in FEELINGS}
as_feelings = [scores_of(few_shot(FEELINGS), said, FEELINGS) for said, _ in SENTENCES]
wrong = recount("cold/hot/fine", as_feelings, SAME)


# %% [markdown]
# Better, but one word still wins far too often. A model has favourites before it has read anything: a word that is frequent, or that stood in the last example. How strong is that pull?
# Ask about sentences that say *nothing* about warmth:

# %%
NEUTRAL = ["I am in the room.", "The room.", "It is Monday.", "Here I am."]


def measure(answers):
    """The scores of the answers on each neutral sentence."""
    return [scores_of(few_shot(answers), sentence, answers) for sentence in NEUTRAL]


baselines = measure(FEELINGS)
for sentence, scores in zip(NEUTRAL, baselines, strict=True):
    print(f"{sentence:18}", rounded(scores))


# %% [markdown]
# These scores are the model's prejudice, measured. The cure: subtract it. What counts is not how probable a word is, but **how much more probable the sentence made it**. The method is called
# *contextual calibration* (Zhao et al. 2021, [arXiv:2102.09690](https://arxiv.org/abs/2102.09690)).

# %% [markdown]
# ### Exercise 6 · Calibrate
#
# For each choice: take its score, subtract the mean of its scores on the neutral sentences. Then make probabilities of the differences with a softmax, as in lab 01.
#
# Example: with `scores = {"cold": -3.0, "fine": -1.0}` and `baselines = [{"cold": -6.0, "fine": -1.0}, {"cold": -4.0, "fine": -1.0}]` the differences are 2 for
# "cold" and 0 for "fine", so the answer is about `{"cold": 0.881, "fine": 0.119}`. Without calibration "fine" would have won.


# %% nbgrader={"schema_version": 3, "grade": false, "solution": true, "locked": false, "task": false, "grade_id": "calibrate"}
def calibrate(scores, baselines):
    """Probabilities of the choices, freed from the model's bias.

    scores: {choice: log-probability}.  baselines: a list, at least one long, of such
    dicts with the same choices (in any order).
    Returns {choice: probability}: the softmax over the choices of (score - mean
    baseline score of that choice). The values sum to 1.
    """
    ### BEGIN SOLUTION
    choices = list(scores)
    bias = {c: np.mean([b[c] for b in baselines]) for c in choices}
    probabilities = labkit.softmax(np.array([scores[c] - bias[c] for c in choices]))
    return {c: float(p) for c, p in zip(choices, probabilities, strict=True)}
    ### END SOLUTION


# %%
def draw_hits(hits):
    """Bars of right answers, with the blind guess as a line."""
    fig, ax = plt.subplots(figsize=(7, 2.8))
    colours = ["#B35900" if name == "keyword rule" else "#0072B2" for name in hits]
    ax.bar_label(ax.barh(list(hits), list(hits.values()), color=colours), padding=3)
    ax.axvline(len(SENTENCES) / 3, color="#1f2933", linestyle="--", label="blind guess")
    ax.set(xlabel=f"right, of {len(SENTENCES)} sentences", xlim=(0, len(SENTENCES)))
    ax.invert_yaxis()
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    told = "; ".join(f"{name} {n}" for name, n in hits.items())
    show(fig, alt=f"Right answers of {len(SENTENCES)}: {told}.")


# %% nbgrader={"schema_version": 3, "grade": true, "solution": false, "locked": true, "task": false, "grade_id": "lab02-calibrate", "points": 2}
with check("lab02-calibrate", hint="Look up by choice. Shift before exp.") as expect:
    raw = {"cold": -3.0, "fine": -1.0}
    got = calibrate(raw, [{"cold": -6.0, "fine": -1.0}, {"cold": -4.0, "fine": -1.0}])
    expect.close([got["cold"], got["fine"]], [0.8808, 0.1192], "the example")
    large = {"a": -900.0, "b": -901.0, "c": -902.0}
    got = calibrate(large, [{"c": -2.0, "b": -1.0, "a": 0.0}])
    expect.close([got[c] for c in "abc"], [1 / 3] * 3, "large scores, another order")
    bias = measure(ACTIONS)
    fair = [calibrate(scores, bias) for scores in as_actions]
    recount("heat/cool/off, calibrated", fair, ACTION_FOR)
    fair = [calibrate(scores, baselines) for scores in as_feelings]
    wrong = recount("cold/hot/fine, calibrated", fair, SAME)
    print("still wrong:", *wrong, sep="\n  ")
    draw_hits(hits)


# %% [markdown]
# How to read it. Nothing was trained. The model, its file and the sentences are the same in the four lower bars. Asking for the right *word* and subtracting the *bias* made the difference.
#
# - Where the answers had no meaning for the model, calibration cannot help much: there is nothing underneath the bias.
# - Where they had, it brings out what the model knew all along. Now the SLM understands sentences that no keyword list foresaw.
# - It is not right every time. And 24 sentences are few: each is worth four percent. Lab 10 says how many cases a claim needs.

# %% [markdown]
# > "Calibrated" has a second meaning: probabilities that keep their promise, so that of all answers given with 0.8 about 80 % are right. Subtracting a bias does not promise that. Lab 08 measures it.

# %% [markdown]
# ### Exercise 7 · A thermostat that listens
#
# Put it together: the SLM perceives, a table acts. Sentence in, action out. `decide("I am freezing.", …)` should give `"heat"` if, after calibration, "cold" is the most probable word.
#
# It builds on exercise 6. The model comes in as an argument. So the check can pass a **scripted** model, with fixed scores instead of a real one: a grade should measure your code and not the model's mood.


# %% nbgrader={"schema_version": 3, "grade": false, "solution": true, "locked": false, "task": false, "grade_id": "decide"}
def decide(sentence, model, baselines):
    """The action for what a person said.

    sentence: str.  model: has score(messages, choices), which returns a list of items
    with .choice and .logprob.
    baselines: a list of {feeling: log-probability}, as `calibrate` takes them.
    Scores the three FEELINGS once, after the messages few_shot(FEELINGS) and the
    sentence as a user message; calibrates;
    returns ACTION_FOR the most probable feeling: "heat", "cool" or "off".
    """
    ### BEGIN SOLUTION
    scored = model.score([*few_shot(FEELINGS), user(sentence)], FEELINGS)
    probabilities = calibrate({s.choice: s.logprob for s in scored}, baselines)
    return ACTION_FOR[max(probabilities, key=probabilities.get)]
    ### END SOLUTION


# %% [markdown]
# The world for it: a simulated room with a person inside, on a day with a cold night and a hot afternoon. The percept is a sentence. One step is 40 minutes.


# %%
class TalkingRoom:
    """A simulated room. The person says a sentence of SAID, by how warm it is."""

    def __init__(self):
        self.temperature, self.temperatures = 20.0, []
        self.rng = np.random.default_rng(0)

    def percept(self):
        return str(self.rng.choice(SAID[rule(self.temperature)]))

    def act(self, action):
        outside = 18 - 14 * math.cos(2 * math.pi * len(self.temperatures) / 36)
        self.temperature += 0.1 * (outside - self.temperature)
        self.temperature += {"heat": 2.0, "cool": -2.0, "off": 0.0}[action]
        self.temperatures.append(self.temperature)


# %%
def compare_listeners(agents, steps=36):
    """Let agents keep a talking room comfortable for a simulated day."""
    curves = {}
    for name, agent in agents.items():
        room = TalkingRoom()
        seconds = run(room, agent, steps)
        share = comfort(room.temperatures, 18, 22)
        print(f"{name:12} {share:.0%} of the simulated day between 18 and 22 °C")
        curves[name] = room.temperatures
        if name == "SLM":
            text = f"{share:.0%} comfortable (simulated)"
            note(
                "SLM thermostat", "reflex with an SLM", text, baselines, steps / seconds
            )
    axes = "simulated steps of 40 minutes", "simulated °C"
    draw(curves, "A thermostat that listens, simulated", *axes, band=(18, 22))


def scripted(*steps):
    """A client on a scripted model that gives these answers, in this order."""
    return Client(ScriptedBackend(steps))


# %% nbgrader={"schema_version": 3, "grade": true, "solution": false, "locked": true, "task": false, "grade_id": "lab02-decide", "points": 1}
with check("lab02-decide", hint="Use the model that came in as an argument.") as expect:
    scores, even = (
        {"cold": -4.0, "hot": -1.0, "fine": -2.0},
        dict.fromkeys(FEELINGS, -1.0),
    )
    fake = scripted(scores, scores)
    expect.equal(decide("I am melting.", fake, [even]), "cool", "'hot' wins, no bias")
    read = fake.backend.requests[0].messages[-1].content
    expect.equal(read, "I am melting.", "the last message that the model read")
    bias = [{"cold": -9.0, "hot": -2.0, "fine": -1.0}]
    expect.equal(
        decide("Brr.", fake, bias), "heat", "'cold' gains most over its baseline"
    )
    listeners = {
        "SLM": lambda said: decide(said, model, baselines),
        "keyword rule": lambda said: ACTION_FOR[keyword_rule(said)],
        "always off": lambda said: "off",
        "perfect ear": lambda said: ACTION_FOR[dict(SENTENCES)[said]],
    }
    compare_listeners(listeners)


# %% [markdown]
# How to read it. An agent is graded on its world, not on single answers. The "perfect ear" knows the meaning of every sentence; more than that nobody can reach in this room. Follow the line of the SLM: after a wrong
# decision the temperature drifts, the person complains again in other words, and the loop gets another chance. Feedback forgives some mistakes. That is good news for small models, and one reason to measure an *agent* as a whole.
#
# Contest one went to the rule, contest two to the model. So use each for what it is good at: **language in, one of a few words out: model. Everything after that: code.**

# %% [markdown]
# ## 7 · A first agent with tools
#
# A thermostat has three actions. An assistant has **tools**: functions that it may call. The model chooses a tool, or none. It fills in the arguments. Then *code* runs the tool, and the
# answer comes from the tool's result. Such a wish of the model is a **tool call**.
#
# ![A request goes to the agent. Step 1, choose: the model scores the tool names and "none". Step 2, fill in: the model writes the arguments, bound to the tool's schema. Step 3, run: plain Python runs the tool. The result goes back to the person. If "none" wins, the agent says that it has no tool.](images/lab02_tools.svg)

# %% [markdown]
# ### Three tools
#
# Plain Python functions. Each returns a sentence that can be shown to a person. The weather comes from a small made-up table, since we are offline.

# %%
WEATHER = {
    "Oslo": "4 °C and rain",
    "Rome": "24 °C and sun",
    "Paris": "13 °C and clouds",
    "Cairo": "33 °C and sun",
}


def clock():
    return time.strftime("It is %H:%M.")


def calculator(a, operation, b):
    value = {"plus": a + b, "minus": a - b, "times": a * b}[operation]
    return f"{a} {operation} {b} is {value}."


def weather(town):
    return f"{town}: {WEATHER[town]} (simulated)."


# %% [markdown]
# Next to each function stands a **JSON schema** of its arguments: the fields, their types, the values allowed. In lab 01 you bound a model's output to a schema; here the schema makes sure that a call
# can be executed at all. The clock takes no arguments.


# %%
def fields(**properties):
    """A JSON schema of an object in which all fields must be present."""
    closed = {"required": list(properties), "additionalProperties": False}
    return {"type": "object", "properties": properties, **closed}


NUMBER = {"type": "integer", "minimum": 0, "maximum": 999}
OPERATION = {"enum": ["plus", "minus", "times"]}
CALCULATION = fields(a=NUMBER, operation=OPERATION, b=NUMBER)
TOOLS = {
    "clock": {"run": clock, "arguments": None},
    "calculator": {"run": calculator, "arguments": CALCULATION},
    "weather": {"run": weather, "arguments": fields(town={"enum": list(WEATHER)})},
}


# %% tags=["nbval-check-output"]
call = {"tool": "calculator", "arguments": {"a": 12, "operation": "times", "b": 7}}
print(TOOLS[call["tool"]]["run"](**call["arguments"]))

# %% [markdown]
# `**arguments` hands a dict over as named arguments. With that, *any* tool is run by the same line. Now the two steps of the model, first by hand. **Choose**:

# %%
CHOICES = [*TOOLS, "none"]
TOOL_EXAMPLES = {
    "none": "Hello, how are you?",
    "clock": "Can you tell me the time?",
    "calculator": "What is 5 plus 3?",
    "weather": "Is it cold in Oslo?",
}
TOOL_PROMPT = [system(f"Choose the tool for the request: {', '.join(TOOLS)} or none.")]
for tool, example in TOOL_EXAMPLES.items():
    TOOL_PROMPT += [user(example), assistant(tool)]
print(rounded(scores_of(TOOL_PROMPT, "What is 12 times 7?", CHOICES)))


# %% [markdown]
# The tool names have a bias like all words have. We measure it with the same neutral sentences, for your `calibrate`.
# Mind a weakness: for a plain statement "none" is a fair answer, so a part of what is subtracted from "none" is not bias. Lab 05 measures the choice of a tool in a better way.

# %%
tool_baselines = [scores_of(TOOL_PROMPT, s, CHOICES) for s in NEUTRAL]
for choice in CHOICES:
    print(f"{choice:11} {np.mean([scores[choice] for scores in tool_baselines]):6.1f}")


# %% [markdown]
# **Fill in**: a completion that is bound to the tool's schema. The `Completion` reads itself as JSON:

# %%
filled = model.complete("What is 12 times 7?", schema=CALCULATION, max_tokens=60)
print("text:", filled.text)
print("arguments:", filled.json())


# %% [markdown]
# ### Exercise 8 · The agent
#
# Now write the agent: choose, fill in, run. Fifteen lines are enough. It builds on exercise 6. For the request "What is 12 times 7?" the answer should look like
#
# ```
# {"tool": "calculator", "arguments": {"a": 12, "operation": "times", "b": 7}, "answer": "12 times 7 is 84."}
# ```
#
# and where no tool fits
#
# ```
# {"tool": "none", "arguments": {}, "answer": "I have no tool for that."}
# ```


# %% nbgrader={"schema_version": 3, "grade": false, "solution": true, "locked": false, "task": false, "grade_id": "tool-agent"}
def tool_agent(request, model, tools, baselines):
    """One turn of a tool-using agent.

    request: str.
    model: has score(messages, choices) and complete(messages, schema=…, max_tokens=…).
    tools: {name: {"run": function, "arguments": JSON schema}}; the schema is None if
    the function takes no arguments.
    baselines: a list of {choice: log-probability} over the tools' names and "none", as
    `calibrate` takes them.

    1. Score the tools' names and "none", once, after TOOL_PROMPT and the request as a
       user message; calibrate; take the most probable.
    2. If that is "none", ask the model nothing more, and return
       {"tool": "none", "arguments": {}, "answer": "I have no tool for that."}
    3. The arguments are {} for a tool without a schema. Otherwise ask for one
       completion of the request, bound to the tool's schema (max_tokens=60 is
       enough), and read it as JSON.
    4. Run the tool with the arguments by name. Return
       {"tool": name, "arguments": arguments, "answer": what the tool returned}
    """
    ### BEGIN SOLUTION
    scored = model.score([*TOOL_PROMPT, user(request)], [*tools, "none"])
    probabilities = calibrate({s.choice: s.logprob for s in scored}, baselines)
    name = max(probabilities, key=probabilities.get)
    if name == "none":
        return {"tool": "none", "arguments": {}, "answer": "I have no tool for that."}
    tool = tools[name]
    arguments = {}
    if tool["arguments"] is not None:
        filled = model.complete(request, schema=tool["arguments"], max_tokens=60)
        arguments = filled.json()
    return {"tool": name, "arguments": arguments, "answer": tool["run"](**arguments)}
    ### END SOLUTION


# %% [markdown]
# Ten requests to try it on, with what a dependable agent would do: the tool, and its arguments. They are not all easy. Some have no right tool, and one asks for a town that the table does not have.


# %%
def sum_of(a, operation, b):
    return "calculator", {"a": a, "operation": operation, "b": b}


NONE = ("none", {})
REQUESTS = {
    "How late is it?": ("clock", {}),
    "What is 12 times 7?": sum_of(12, "times", 7),
    "How much is 90 minus 33?": sum_of(90, "minus", 33),
    "Will it rain in Oslo?": ("weather", {"town": "Oslo"}),
    "Good morning!": NONE,
    "Add 45 and 17.": sum_of(45, "plus", 17),
    "I buy 3 boxes of 8 eggs. How many eggs is that?": sum_of(3, "times", 8),
    "Is it nice in Madrid?": NONE,
    "How many days has a week?": NONE,
    "What is 20 divided by 4?": NONE,
}


# %%
def try_agent(agent):
    """Print what an agent makes of the ten requests."""
    started, right = time.perf_counter(), 0
    for request, wanted in REQUESTS.items():
        did = agent(request)
        good = (did["tool"], did["arguments"]) == wanted
        right += good
        print(
            f"{'right' if good else 'WRONG'}  {request}  [{did['tool']}]  {did['answer']}"
        )
    rate = len(REQUESTS) / (time.perf_counter() - started)
    success = f"{right} of {len(REQUESTS)} requests right"
    print(f"{success}, {1 / rate:.2f} s for each")
    note("tool agent", "SLM with tools", success, tool_baselines, rate)


# %% nbgrader={"schema_version": 3, "grade": true, "solution": false, "locked": true, "task": false, "grade_id": "lab02-tool-agent", "points": 3}
with check(
    "lab02-tool-agent", hint="No tool: no completion. Else one, with schema=."
) as expect:
    sing = fields(text={"type": "string", "maxLength": 9}, times=NUMBER)
    kit = {
        "echo": {"run": lambda text, times: text * times, "arguments": sing},
        "ping": {"run": lambda: "pong", "arguments": None},
    }
    even = [{"echo": -1.0, "ping": -1.0, "none": -1.0}]
    call = {"text": "la", "times": 3}
    fake = scripted({"echo": -1.0, "ping": -5.0, "none": -2.0}, json.dumps(call))
    want = {"tool": "echo", "arguments": call, "answer": "lalala"}
    expect.equal(tool_agent("Sing!", fake, kit, even), want, "a tool with arguments")
    asked = fake.backend.requests
    read = [request.messages[-1].content for request in asked]
    expect.equal(read, ["Sing!", "Sing!"], "the last message of both requests")
    expect.equal(asked[1].schema, sing, "the schema of the completion")
    fake = scripted({"echo": -5.0, "ping": -1.0, "none": -2.0})
    want = {"tool": "ping", "arguments": {}, "answer": "pong"}
    expect.equal(tool_agent("Ping!", fake, kit, even), want, "a tool without arguments")
    fake = scripted({"echo": -2.0, "ping": -1.0, "none": -3.0})
    bias = [{"echo": -1.0, "ping": -1.0, "none": -9.0}]
    want = {"tool": "none", "arguments": {}, "answer": "I have no tool for that."}
    expect.equal(
        tool_agent("Hello!", fake, kit, bias), want, "'none' wins by calibration"
    )
    try_agent(lambda request: tool_agent(request, model, TOOLS, tool_baselines))


# %% [markdown]
# How to read it. Every line ran. No call had a wrong form, because it could not: the choice is one of four words, the arguments match the schema. What is wrong is wrong in *content*, and it looks
# just as confident as the rest. Typical ways to fail:
#
# - **The wrong operation.** The numbers were copied, the meaning was not understood.
# - **A forced choice.** The schema demands a town from the table, so a town that was never mentioned gets in.
# - **A tool where none fits.** "None" is the hardest choice, and our neutral sentences make it harder: they take something away from it.
#
# This agent is a sketch. Lab 05 grounds the arguments in the user's words and checks them. Lab 06 adds the loop: several steps, limits, repair, memory. Both measure on many more cases than ten.

# %% [markdown]
# ## 8 · The kinds compared
#
# All rows come from this run, on this machine. A row is missing while its exercise is not solved. "Remembers" is what the agent itself keeps between decisions, as JSON (2 B is an empty list); the model's weights come on top for the last two.

# %%
print(f"{'agent':15} {'kind':19} {'remembers':>9} {'decisions/s':>12}  success")
for agent, (kind, success, memory, rate) in results.items():
    print(f"{agent:15} {kind:19} {memory:>9} {rate:>12,.1f}  {success}")
print(f"\nWith the SLM, this process needs {memory_slm:.0f} MB more.")


# %% [markdown]
# What would one decision a minute cost, in seconds of computing for a whole day? This is computed from the rates above, for 1,440 decisions:

# %%
for agent, (*_, rate) in results.items():
    print(f"{agent:15} {1440 / rate:12,.4f} s a day")

# %% [markdown]
# How to read it, with the three questions of section 1:
#
# - **Cost.** From a rule to an SLM, decisions per second fall by orders of magnitude. But look at the seconds *per day*: for one decision a minute even the SLM is affordable, on a device that you own.
#   Whether a decision is expensive depends on how often you make it.
# - **Deployment.** Every row ran here, offline. Memory is what separates them: the first four would fit on a microcontroller, the SLM wants hundreds of megabytes.
# - **Autonomy.** The agents that are easiest to trust are those whose mistakes you can predict. Give the others fewer actions, and smaller ones.

# %% [markdown]
# | use | when |
# | --- | --- |
# | a **reflex** | the present percept tells enough, and you can write the rule |
# | a **model** of the world | the past matters |
# | a **search** | there is a map, and the goal changes more often than the map |
# | **learning** | nobody knows the right answer, but outcomes can be observed |
# | an **SLM** | the percept is language, and the answer is one of a few words or fields |

# %% [markdown] nbgrader={"schema_version": 3, "grade": true, "solution": true, "locked": false, "task": false, "grade_id": "lab02-written", "points": 3}
# **Question.** You design the controller of a greenhouse. It has a small computer without a network. It must (a) open the roof window when it is too hot, (b) send a watering robot to the dry beds
# by the shortest way, past whatever stands in the aisles today, (c) find out which of five lamp settings makes the lettuce grow best, and (d) react when the gardener says "the tomatoes by
# the door look sad".
#
# For each of the four tasks name the kind of agent that you would use, its percept, and its measure of success. For (d) also say what the SLM decides and what code decides. Use at least two figures that you
# measured in this lab. Ten sentences or so.
#
# ### BEGIN SOLUTION
# A good answer has these points.
#
# One point for (a) and (b): (a) simple reflex with hysteresis; percept: temperature and whether the window is open; measure: share of time in the band and number of movements of the window (cites the own
# run: hysteresis needed far fewer switchings than the naive rule at about the same comfort). (b) goal-based, search on the map of the aisles, with a belief about which aisles are blocked (model-based as well)
# and a new plan when that changes; measure: length of the way compared with the shortest, or beds watered.
#
# One point for (c): learning, for instance an epsilon-greedy bandit; percept: growth after a period with a setting; measure: regret. Names exploration against exploitation, or that rewards come slowly, so that
# five arms need weeks.
#
# One point for (d): the SLM turns language into one of a few words (dry, ill, too cold, fine, ask) by score, calibrated against neutral sentences; code maps the word to an action and keeps the limits (for
# instance only a message to the gardener, no spraying). Measure: right answers on sentences not used for the prompt, compared with a keyword rule and with a blind guess; cites own figures of accuracy and time per
# decision. Full points only with at least two figures of the own run.
# ### END SOLUTION

# %% [markdown]
# ## Recap
#
# - An agent **perceives, decides, acts**, and is measured from outside.
# - **Reflex** looks at the percept, **model-based** also at a belief, **goal-based** at the consequences, **learning** at outcomes.
# - **Hysteresis** gives a reflex peace; a **belief** saves steps; an admissible **heuristic** saves search; **exploration** saves you from a lucky first impression.
# - **Score** the allowed answers, and a model cannot leave the rails. **Calibrate** with neutral inputs, and it no longer follows its favourite word.
# - Rules where rules are known. The SLM where the percept is language.
# - A tool call has a form and a content. The form can be guaranteed. The content must be checked.

# %% [markdown]
# ## Break it
#
# Predict first, then try. Make new cells at the end of the notebook.
#
# 1. Give the thermostat a band of 0.1 and of 2.0. How do comfort and switchings trade against each other?
# 2. Put a carpet into the vacuum's house while it runs: turn a cell that it has visited into `"*"`. Why is it never cleaned? What should the belief hold instead?
# 3. Multiply all estimates by 3 and run A\* from the Museum to the Castle, and between other places. When is the way no longer the shortest? How many places are expanded?
# 4. After 1,000 readers swap two entries of `CLICKS`. How long does the recommender need to notice? Replace $1/n$ by a constant 0.05 and look again.
# 5. Change the order of `EXAMPLES` and of the answers. Does the favourite word change? Do the baselines change with it? Does the calibrated result?
# 6. Write ten sentences of your own, also in your own language, and label them. What does the keyword rule get, what the SLM?
# 7. Give the tool agent a tool `"joke"`. Which requests go wrong that were right before?
# 8. Let the model phrase the answer: `model.complete([user("What is 12 times 7?"), assistant("12 times 7 is 84."), user("Say it in other words.")], max_tokens=40)`. Is the number still right? Try it
#    with five results. Would you show its words or the tool's?
# 9. Load a bigger model (one line: `model = labkit.load("…")`, see lab 01) and run sections 6 and 7 again. Which contest changes most?

# %% [markdown]
# ## What is next
#
# Your tool agent is as good as its model, and its model has a size. In **Lab 03 · Quantization** you find out what the numbers inside that file are, how four bits can stand for sixteen, and what it costs. The agent
# comes back in **Lab 05 · Tools** and **Lab 06 · The agent loop**, and is made dependable there.
