"""Judge of Lab 02 · Four kinds of agent. Cases come from a seed; what is right is worked out here and stays here."""

from __future__ import annotations

import heapq
import json
import math
from collections import deque
from itertools import pairwise
from typing import Any

import numpy as np
from labkit.grading import Student, grades

DIRECTIONS = {"north": (-1, 0), "south": (1, 0), "west": (0, -1), "east": (0, 1)}
Grid = list[list[str]]


@grades("lab02-hysteresis")
def test_hysteresis(student: Student, rng: np.random.Generator) -> None:
    for _ in range(30):
        target, band = (
            round(float(rng.uniform(5, 25)), 1),
            round(float(rng.uniform(0.2, 3)), 1),
        )
        heating = bool(rng.integers(2))
        offset = float(rng.uniform(1.1, 3)) * band
        for temperature, right in (
            (target - offset, True),
            (target + offset, False),
            (target + float(rng.uniform(-0.9, 0.9)) * band, heating),
        ):
            got = student.call(
                "thermostat", temperature, heating, target=target, band=band
            )
            assert got == right
    for heating in (
        True,
        False,
    ):  # the limits themselves, in numbers that a float holds exactly
        assert student.call("thermostat", 18.5, heating, 19.0, 0.5) == heating
        assert student.call("thermostat", 19.5, heating, 19.0, 0.5) == heating
    assert student.call("thermostat", 19.75, False) == False  # noqa: E712, an int will do
    assert student.call("thermostat", 19.25, False) == True  # noqa: E712


def _grid(rng: np.random.Generator, marks: str, weights: list[float]) -> Grid:
    rows, columns = int(rng.integers(2, 8)), int(rng.integers(2, 9))
    return [
        [str(m) for m in rng.choice(list(marks), columns, p=weights)]
        for _ in range(rows)
    ]


def _near(grid: Grid, row: int, column: int) -> dict[str, tuple[int, int]]:
    """The neighbouring cells inside the grid, by direction."""
    cells = {d: (row + down, column + right) for d, (down, right) in DIRECTIONS.items()}
    return {
        d: (r, c)
        for d, (r, c) in cells.items()
        if 0 <= r < len(grid) and 0 <= c < len(grid[0])
    }


@grades("lab02-belief")
def test_belief(student: Student, rng: np.random.Generator) -> None:
    for _ in range(25):
        house = _grid(rng, "#.", [0.4, 0.6])
        rows, columns = len(house), len(house[0])
        known = [
            [str(rng.choice(["?", "#"] if m == "#" else ["?", "o", "."])) for m in row]
            for row in house
        ]
        row, column = int(rng.integers(rows)), int(rng.integers(columns))
        near = _near(house, row, column)
        free = [d for d, (r, c) in near.items() if house[r][c] != "#"]
        rng.shuffle(free)
        right = [list(line) for line in known]
        right[row][column] = "."
        for d, (r, c) in near.items():
            if d not in free:
                right[r][c] = "#"
            elif right[r][c] == "?":
                right[r][c] = "o"
        percept = {
            "position": [row, column],
            "dirty": bool(rng.integers(2)),
            "free": free,
        }
        assert student.call("update_belief", known, percept) == right


def _steps_to_open(grid: Grid) -> dict[tuple[int, int], int]:
    """Steps from each cell to the nearest open one; cells that cannot reach one are missing."""
    starts = [
        (r, c)
        for r, row in enumerate(grid)
        for c, mark in enumerate(row)
        if mark == "o"
    ]
    steps, queue = dict.fromkeys(starts, 0), deque(starts)
    while queue:
        cell = queue.popleft()
        for r, c in _near(grid, *cell).values():
            if grid[r][c] in "o." and (r, c) not in steps:
                steps[r, c] = steps[cell] + 1
                queue.append((r, c))
    return steps


@grades("lab02-explore")
def test_explore(student: Student, rng: np.random.Generator) -> None:
    reached = unreached = 0
    while reached < 30 or unreached < 5:
        grid = _grid(rng, "#?o.", [0.25, 0.1, 0.06, 0.59])
        visited = [
            (r, c)
            for r, row in enumerate(grid)
            for c, mark in enumerate(row)
            if mark == "."
        ]
        if not visited:
            continue
        row, column = visited[int(rng.integers(len(visited)))]
        steps = _steps_to_open(grid)
        if (row, column) not in steps:
            if unreached < 5:
                unreached += 1
                assert student.call("next_move", grid, [row, column]) is None
        elif reached < 30:
            reached += 1
            got = student.call("next_move", grid, [row, column])
            good = [
                d
                for d, cell in _near(grid, row, column).items()
                if steps.get(cell) == steps[row, column] - 1
            ]
            assert got in good


@grades("lab02-explore")
def test_explore_leaves_the_belief_alone(
    student: Student, rng: np.random.Generator
) -> None:
    grid = [[".", ".", "."], [".", "#", "."], [".", "?", "o"]]
    got = student.eval("(lambda b: [next_move(b, [0, 0]), b])(belief)", belief=grid)
    assert got[0] in ("east", "south")  # the south way is blocked by an unknown cell
    assert got == ["east", grid]


def _town(
    rng: np.random.Generator,
) -> tuple[dict[str, list[float]], dict[str, dict[str, float]]]:
    """Random places, and roads longer than the straight line. Some roads lead one way only."""
    names = [f"p{i}" for i in rng.permutation(int(rng.integers(8, 24)))]
    places = {name: [float(x) for x in rng.uniform(0, 10, 2)] for name in names}
    roads: dict[str, dict[str, float]] = {name: {} for name in names}
    for a in names:
        nearest = sorted(
            (b for b in names if b != a), key=lambda b: math.dist(places[a], places[b])
        )
        for b in nearest[: int(rng.integers(1, 5))]:
            roads[a][b] = math.dist(places[a], places[b]) * float(
                rng.uniform(1.05, 1.9)
            )
            if rng.random() < 0.7:
                roads[b][a] = roads[a][b]
    return places, roads


def _costs(roads: dict[str, dict[str, float]], start: str) -> dict[str, float]:
    """Dijkstra: the smallest cost of every place that can be reached."""
    costs: dict[str, float] = {}
    heap = [(0.0, start)]
    while heap:
        cost, place = heapq.heappop(heap)
        if place in costs:
            continue
        costs[place] = cost
        for neighbour, km in roads[place].items():
            heapq.heappush(heap, (cost + km, neighbour))
    return costs


@grades("lab02-astar")
def test_estimates(student: Student, rng: np.random.Generator) -> None:
    for _ in range(5):
        places, _roads = _town(rng)
        goal = str(rng.choice(list(places)))
        got = student.call("estimates", places, goal)
        assert set(got) == set(places)
        assert all(
            abs(got[p] - math.dist(places[p], places[goal])) < 1e-6 for p in places
        )


@grades("lab02-astar")
def test_a_star(student: Student, rng: np.random.Generator) -> None:
    for case in range(24):
        places, roads = _town(rng)
        start, goal = (str(p) for p in rng.choice(list(places), 2, replace=False))
        straight = {p: math.dist(places[p], places[goal]) for p in places}
        estimate = dict.fromkeys(places, 0.0) if case % 3 == 0 else straight
        costs = _costs(roads, start)
        got = student.call("a_star", roads, start, goal, estimate)
        if goal not in costs:
            assert got is None
            continue
        path, best = got["path"], costs[goal]
        assert path[0] == start
        assert path[-1] == goal
        assert abs(sum(roads[a][b] for a, b in pairwise(path)) - best) < 1e-6
        assert abs(got["km"] - best) < 1e-6
        # with such estimates, exactly the places with f below the cost of the best way are expanded, once, cheapest f first
        f = {p: cost + estimate[p] for p, cost in costs.items()}
        assert len(got["order"]) == len(set(got["order"]))
        assert set(got["order"]) == {p for p in costs if f[p] < best and p != goal}
        falls = [f[a] - f[b] for a, b in pairwise(got["order"])]
        assert all(fall < 1e-6 for fall in falls)


@grades("lab02-astar")
def test_a_star_at_the_goal(student: Student, rng: np.random.Generator) -> None:
    places, roads = _town(rng)
    name = str(rng.choice(list(places)))
    got = student.call(
        "a_star",
        roads,
        name,
        name,
        {p: math.dist(places[p], places[name]) for p in places},
    )
    assert got["path"] == [name]
    assert got["order"] == []
    assert abs(got["km"]) < 1e-9


@grades("lab02-bandit")
def test_choose_arm(student: Student, rng: np.random.Generator) -> None:
    draws = "(lambda rng: [int(choose_arm(list(means), epsilon, rng)) for _ in range(n)])(np.random.default_rng(seed))"
    for epsilon in (0.0, 1.0, float(rng.uniform(0.2, 0.8))):
        arms, n = int(rng.integers(3, 7)), 3000
        means = [float(m) for m in rng.permutation(np.linspace(0.05, 0.9, arms))]
        seed = int(rng.integers(1_000_000_000))
        got = student.eval(draws, means=means, epsilon=epsilon, n=n, seed=seed)
        for arm in range(arms):
            share = epsilon / arms + (1 - epsilon) * (means[arm] == max(means))
            spread = math.sqrt(share * (1 - share) / n)
            assert abs(got.count(arm) / n - share) <= 6 * spread + 1e-9
        assert len(got) == n
        # rng is the only source of randomness: the same seed gives the same choices
        assert (
            student.eval(draws, means=means, epsilon=epsilon, n=50, seed=seed)
            == got[:50]
        )


@grades("lab02-bandit")
def test_choose_arm_with_a_tie(student: Student, rng: np.random.Generator) -> None:
    got = student.eval(
        "[int(choose_arm([0.2, 0.7, 0.7], 0.0, np.random.default_rng(i))) for i in range(20)]"
    )
    assert set(got) <= {1, 2}


@grades("lab02-bandit")
def test_learn(student: Student, rng: np.random.Generator) -> None:
    for _ in range(4):
        arms = int(rng.integers(2, 6))
        counts, means = [0] * arms, [0.0] * arms
        rewards: list[list[float]] = [[] for _ in range(arms)]
        for _ in range(15):
            arm, reward = int(rng.integers(arms)), round(float(rng.uniform(0, 3)), 2)
            counts, means = student.call("learn", counts, means, arm, reward)
            rewards[arm].append(reward)
            assert [int(c) for c in counts] == [len(r) for r in rewards]
            assert np.allclose(
                means, [np.mean(r) if r else 0.0 for r in rewards], atol=1e-6
            )


def _calibrated(
    scores: dict[str, float], baselines: list[dict[str, float]]
) -> dict[str, float]:
    gains = {
        c: s - float(np.mean([b[c] for b in baselines])) for c, s in scores.items()
    }
    top = max(gains.values())
    total = sum(math.exp(g - top) for g in gains.values())
    return {c: math.exp(g - top) / total for c, g in gains.items()}


def _scores(
    rng: np.random.Generator, choices: list[str], spread: float = 3.0
) -> dict[str, float]:
    order = [choices[i] for i in rng.permutation(len(choices))]
    return {c: -float(rng.uniform(0.1, spread * len(choices))) for c in order}


@grades("lab02-calibrate")
def test_calibrate(student: Student, rng: np.random.Generator) -> None:
    for case in range(20):
        choices = [f"word {i}" for i in range(int(rng.integers(2, 7)))]
        scores = _scores(rng, choices)
        if case % 4 == 0:  # log-probabilities of long texts: exp() of them alone is 0
            scores = {c: s - 2000 for c, s in scores.items()}
        baselines = [_scores(rng, choices) for _ in range(int(rng.integers(1, 5)))]
        got, right = (
            student.call("calibrate", scores, baselines),
            _calibrated(scores, baselines),
        )
        assert set(got) == set(right)
        assert all(abs(got[c] - right[c]) < 1e-4 for c in right)


def _clear_winner(
    rng: np.random.Generator, choices: list[str]
) -> tuple[dict[str, float], list[dict[str, float]], str]:
    """Scores and baselines whose best choice is clear, and is another one without calibration in about half of the cases."""
    while True:
        scores = _scores(rng, choices)
        baselines = [_scores(rng, choices) for _ in range(int(rng.integers(1, 4)))]
        right = _calibrated(scores, baselines)
        first, second = sorted(right.values(), reverse=True)[:2]
        best = max(right, key=right.__getitem__)
        if first - second > 0.05 and (
            best != max(scores, key=scores.__getitem__) or rng.random() < 0.3
        ):
            return scores, baselines, best


ASK = (
    "(lambda backend: [{call}, [[r.messages[-1].role, r.messages[-1].content] for r in backend.requests],"
    " [r.schema for r in backend.requests]])(ScriptedBackend(script))"
)


@grades("lab02-decide")
def test_decide(student: Student, rng: np.random.Generator) -> None:
    actions = {"cold": "heat", "hot": "cool", "fine": "off"}
    for i in range(12):
        scores, baselines, best = _clear_winner(rng, list(actions))
        sentence = f"The room feels like number {i}."
        call = "decide(sentence, Client(backend), baselines)"
        got, asked, _schemas = student.eval(
            ASK.format(call=call),
            sentence=sentence,
            baselines=baselines,
            script=[scores],
        )
        assert got == actions[best]
        assert asked == [["user", sentence]]


@grades("lab02-tool-agent")
def test_tool_agent(student: Student, rng: np.random.Generator) -> None:
    number = {"type": "integer", "minimum": 0, "maximum": 99}
    schemas: dict[str, Any] = {
        "add": _object(x=number, y=number),
        "greet": _object(name={"type": "string", "maxLength": 12}),
        "bell": None,
    }
    tools = (
        "{'greet': {'run': lambda name: 'Hello, ' + name, 'arguments': schemas['greet']},"
        " 'bell': {'run': lambda: 'ding', 'arguments': None},"
        " 'add': {'run': lambda x, y: x + 10 * y, 'arguments': schemas['add']}}"
    )
    call = f"tool_agent(request, Client(backend), {tools}, baselines)"
    seen = set()
    for i in range(100):
        scores, baselines, best = _clear_winner(rng, [*schemas, "none"])
        x, y, name = int(rng.integers(99)), int(rng.integers(99)), f"Ana {i}"
        arguments, answer = {
            "add": ({"x": x, "y": y}, x + 10 * y),
            "greet": ({"name": name}, f"Hello, {name}"),
            "bell": ({}, "ding"),
            "none": ({}, "I have no tool for that."),
        }[best]
        script: list[Any] = [scores]
        if best in ("add", "greet"):
            script.append(json.dumps(arguments))
        request = f"Request number {i}, please."
        got, asked, bound = student.eval(
            ASK.format(call=call),
            request=request,
            baselines=baselines,
            schemas=schemas,
            script=script,
        )
        assert got == {"tool": best, "arguments": arguments, "answer": answer}
        assert asked == [["user", request]] * len(script)
        assert (
            bound == [None, schemas[best]][: len(script)]
            if best != "none"
            else bound == [None]
        )
        seen.add(best)
        if i >= 14 and len(seen) == 4:
            return
    raise AssertionError("not every tool had its turn")


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
