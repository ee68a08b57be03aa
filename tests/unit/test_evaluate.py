"""Suites, runs, their files, resources, prices, and a server that goes away."""

from __future__ import annotations

import json
import math
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit import Client, evaluate
from labkit.backends.failover import FailoverBackend
from labkit.backends.process import free_port
from labkit.backends.scripted import ScriptedBackend
from labkit.bench.figures import bootstrap, share
from labkit.config import settings
from labkit.errors import BackendUnavailable, ConfigError
from labkit.evaluate import Case, Link, Metered, Prices, Resources, Result, Run, Suite, says
from labkit.evaluate.resources import Energy, Watch
from labkit.messages import Chunk, Completion, Usage
from labkit.routing import metrics

USED = Usage(100, 40, 7)


def ask(client: Client, words: str) -> str:
    return client.complete(words).text


def scripted(*steps: Any) -> Client:
    return Client(ScriptedBackend(steps))


def suite(*facts: str) -> Suite:
    return Suite("words", [Case(f"c{i}", f"Say {fact}", says(fact)) for i, fact in enumerate(facts)])


def small(outcomes: str = "cfl", **more: Any) -> Run:
    names = {"c": "completed", "f": "failed", "l": "lost"}
    results = [Result(case=f"c{i}", outcome=names[o], seconds=float(i)) for i, o in enumerate(outcomes)]  # type: ignore[arg-type]
    fields: dict[str, Any] = {"suite": "s", "backend": "b", "results": tuple(results)}
    return Run(**{**fields, "resources": Resources(peak_rss_mb=1, cpu_s=1), **more})


# --- suites ---


@pytest.mark.parametrize(
    ("cases", "told"),
    [([], "has no cases"), ([Case("a", 1, str), Case("a", 2, str)], "two cases 'a'")],
)
def test_a_suite_needs_cases_with_ids_of_their_own(cases: list[Case], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Suite("x", cases)


@given(st.integers(1, 50), st.integers(1, 60))
def test_a_sample_is_spread_and_has_no_case_twice(size: int, n: int) -> None:
    every = Suite("x", [Case(str(i), i, str) for i in range(size)])
    picked = [case.given for case in every.sample(n).cases]
    assert len(picked) == min(n, size)
    assert picked == sorted(set(picked))
    if n <= size:
        assert max(np.diff([*picked, size]), default=0) <= math.ceil(size / n)
    with pytest.raises(ConfigError):
        every.sample(0)


def test_a_run_tells_completed_failed_and_lost_apart() -> None:
    client = scripted("It is here.", "no idea", BackendUnavailable("gone", "start it"), "four")
    run = evaluate.run(suite("here", "there", "x", "four"), ask, client, label="first")
    assert [r.outcome for r in run.results] == ["completed", "failed", "lost", "completed"]
    assert run.results[1].reason == "it does not say there"
    assert run.results[2].reason == "BackendUnavailable: gone"
    assert run.outcomes == {"c0": True, "c1": False, "c2": False, "c3": True}
    assert set(run.latencies) == {"c0", "c1", "c3"}  # a lost case has no answer that was waited for
    assert run.label == "first"
    assert run.backend == "scripted"


def test_any_error_of_the_system_loses_one_case_and_an_interrupt_ends_the_run() -> None:
    def system(client: Client, given: Any) -> Any:
        raise given

    run = evaluate.run(Suite("x", [Case("a", ZeroDivisionError("1/0\nmore"), str)]), system, scripted())
    assert (run.results[0].outcome, run.results[0].reason) == ("lost", "ZeroDivisionError: 1/0")
    with pytest.raises(KeyboardInterrupt):
        evaluate.run(Suite("x", [Case("a", KeyboardInterrupt(), str)]), system, scripted())


def test_a_check_that_raises_fails_its_case_and_one_that_answers_no_text_is_a_mistake() -> None:
    def broken(came: Any) -> str:
        return came["no"]

    run = evaluate.run(Suite("x", [Case("a", "?", broken)]), ask, scripted("yes"))
    assert run.results[0].outcome == "failed"
    assert "the check raised TypeError" in run.results[0].reason
    yes: Any = lambda came: True  # noqa: E731
    with pytest.raises(ConfigError, match="answered True"):
        evaluate.run(Suite("x", [Case("a", "?", yes)]), ask, scripted("yes"))


def test_a_clock_that_goes_backwards_gives_no_time() -> None:
    ticks = iter([100.0, 50.0, 40.0, 41.0, 43.0, 10.0])
    run = evaluate.run(suite("a", "b"), ask, scripted("a", "b"), clock=lambda: next(ticks))
    assert [r.seconds for r in run.results] == [None, 2.0]
    assert run.seconds is None
    assert {f.name for f in run.figures() if f.n == 1} >= {"words.p50_s"}
    backwards = evaluate.run(suite("a"), ask, scripted("a"), clock=iter([4.0, 3.0, 2.0, 1.0]).__next__)
    assert not [f for f in backwards.figures() if f.name.endswith("p50_s")]
    with pytest.raises(ConfigError, match="No case of this run has a time"):
        Prices.load().own_machine(backwards)


def test_what_a_system_says_of_its_calls_and_seconds_counts() -> None:
    visit = SimpleNamespace(calls=(1, 2), seconds=0.25, answer="done")
    run = evaluate.run(Suite("x", [Case("a", 1, says("done"))]), lambda client, given: visit, scripted())
    assert (run.results[0].tool_calls, run.results[0].seconds) == (2, 0.25)


@pytest.mark.parametrize(
    ("answer", "good"), [("It costs 5 euros", True), ("15 euros", False), ("1.5", False), ("", False)]
)
def test_says_wants_words_of_their_own(answer: str, good: bool) -> None:
    assert (says("5", "five")(answer) == "") is good
    assert says("it COSTS")(SimpleNamespace(answer="It costs 5")) == ""


# --- counting ---


def test_tokens_are_counted_wherever_they_are_asked_for() -> None:
    answer = Completion("ok", "stop", USED)
    client = Metered(scripted(*[answer] * 4).backend)
    client.complete("?")
    list(client.stream("?"))
    client.batch(["?", "?"])
    assert (client.counts.calls, client.counts.prompt, client.counts.cached) == (4, 400, 160)
    assert (client.counts.written, client.counts.untold) == (28, 0)


def test_an_answer_that_is_broken_off_is_counted_and_its_stream_closed() -> None:
    closed: list[bool] = []

    class Slow(ScriptedBackend):
        def stream(self, request: Any) -> Iterator[Chunk]:
            try:
                yield Chunk("a")
                yield Chunk("b", finish_reason="stop", usage=USED)
            finally:
                closed.append(True)

    client = Metered(Slow([]))
    with closing(client.stream("?")) as stream:  # type: ignore[type-var]
        next(stream)
    assert closed == [True]
    assert (client.counts.calls, client.counts.untold) == (1, 1)


def test_scores_without_an_engine_are_untold_and_their_tokens_make_no_figure() -> None:
    def system(client: Client, given: Any) -> str:
        return client.choose("?", ["a", "b"])

    one = Suite("x", [Case("1", "", says("a"))])
    run = evaluate.run(one, system, scripted({"a": -1.0, "b": -2.0}))
    assert run.results[0].untold == 1
    assert not [f for f in run.figures() if "tokens" in f.name]


def test_the_engine_tells_the_tokens_of_scores(model: Client) -> None:
    client = Metered(model.backend)
    client.choose("Is the sea wet? Answer yes or no.", ["yes", "no"])
    client.choose("Is the sea wet? Answer yes or no.", ["yes", "no"])
    assert client.counts.untold == 0
    assert 0 < client.counts.cached < client.counts.prompt


def test_a_disturbance_comes_in_the_middle_of_its_case_and_once() -> None:
    seen: list[str] = []

    def system(client: Client, words: str) -> str:
        text = ""
        for chunk in client.stream(words):
            text += chunk.text
            seen.append(chunk.text)
        return text

    run = evaluate.run(
        suite("one two", "three four"),
        system,
        scripted("one two", "three four"),
        disturb=("c1", lambda: seen.append("!")),
    )
    assert seen.count("!") == 1
    assert seen.index("!") == seen.index("three") + 1
    assert all(run.outcomes.values())
    with pytest.raises(ConfigError, match="no case 'c9'"):
        evaluate.run(suite("a"), ask, scripted(), disturb=("c9", print))


# --- the two suites of the course ---


def test_tool_cases_without_the_model_are_checked_and_repeatable(model: Client) -> None:
    some = evaluate.tool_suite().sample(8)
    runs = [evaluate.run(some, evaluate.with_strategy("text_only"), model) for _ in range(2)]
    assert runs[0].outcomes == runs[1].outcomes
    assert any(runs[0].outcomes.values())
    assert all(r.tool_calls <= 2 for r in runs[0].results)
    assert all(r.model_calls == 0 for r in runs[0].results)


def test_a_visit_to_the_desk_is_judged_by_its_rows() -> None:
    class Liar:
        def __init__(self, client: Client, tools: Any) -> None:
            self.tools = tools

        def run(self, words: str, session: Any) -> Any:
            return SimpleNamespace(answer="Ticket 5006 is open. shipped 2026-12-05", calls=(), seconds=0.5)

    every = {case.kind: case for case in evaluate.desk_suite().cases}
    some = Suite("desk", [every["ticket_by_order"], every["out_of_scope"]])
    run = evaluate.run(some, evaluate.at_desk(Liar), scripted())  # type: ignore[arg-type]
    assert run.results[0].outcome == "failed"
    assert "no new row in tickets" in run.results[0].reason
    assert run.results[0].seconds == len(every["ticket_by_order"].given.turns) * 0.5


@pytest.mark.slow
def test_the_agent_completes_a_visit(model: Client) -> None:
    first = Suite("desk", evaluate.desk_suite().cases[:1])
    run = evaluate.run(first, evaluate.at_desk(), model)
    assert run.results[0].outcome == "completed", run.results[0]
    assert run.results[0].model_calls > 0
    assert run.results[0].tokens_prompt > 0
    assert run.results[0].tokens_prompt == run.results[0].tokens_read + run.results[0].tokens_cached


# --- files ---


def test_a_run_is_kept_and_read_again(tmp_path: Path) -> None:
    run = small()
    path = run.save(tmp_path / "run.json")
    assert Run.load(path) == run
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]  # nothing half-written beside it


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: Any) -> None:
    path = small().save(tmp_path / "run.json")
    old = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ConfigError, match="No space left"):
        small("ccc").save(path)
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]
    with pytest.raises(ConfigError, match="cannot be written"):
        small().save(tmp_path / "no" / "folder.json")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"version": 99}, "version 99"),
        ({"format": "other"}, "format"),
        ({"results": []}, "results"),
        ({"results": [{"case": "a", "outcome": "great"}]}, "outcome"),
        ({"results": [{"case": "a", "outcome": "lost", "seconds": -1}]}, "seconds"),
        ({"results": [{"case": "a", "outcome": "lost", "seconds": math.nan}]}, "seconds"),
        ({"results": [{"case": "a", "outcome": "lost"}] * 2}, "twice"),
        ({"more": 1}, "more"),
        ({"date": "2026-11-22T10:00:00"}, "date"),
    ],
)
def test_a_damaged_run_is_refused(change: dict[str, Any], told: str) -> None:
    text = json.dumps({**json.loads(small().model_dump_json()), **change})
    with pytest.raises(ConfigError, match=told):
        Run.parse(text, "run.json")


@given(st.text())
def test_no_text_reads_as_a_run(text: str) -> None:
    with pytest.raises(ConfigError):
        Run.parse(text, "x")


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        Run.load(tmp_path / "none.json")


def test_figures_of_a_run() -> None:
    figures = {f.name: f for f in small("ccfl").figures()}
    assert figures["s.completed"].value == 0.5
    assert figures["s.lost"].value == 1
    assert figures["s.p50_s"].value == 1.0  # 0, 1 and 2 s; the lost one has none
    assert figures["s.under_a_second"].value == pytest.approx(1 / 3)
    assert "s.energy" not in figures
    for f in figures.values():
        assert f.low is None or f.high is None or f.low <= f.value <= f.high
    watts = Resources(peak_rss_mb=1, cpu_s=1, energy_j=7.5)
    assert {f.name: f.value for f in small("c", resources=watts).figures()}["s.energy"] == 7.5


def test_a_run_of_lost_cases_has_figures_too() -> None:
    figures = {f.name: f for f in small("lll").figures()}
    assert figures["s.completed"].value == 0
    assert "s.p50_s" not in figures


# --- intervals ---


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_an_interval_holds_its_share(hits: list[bool]) -> None:
    f = share("x", hits)
    assert f.low is not None
    assert f.high is not None
    assert 0 <= f.low <= f.value <= f.high <= 1


def test_an_interval_of_nothing_is_refused_and_of_much_is_narrow() -> None:
    with pytest.raises(ConfigError, match="nothing to resample"):
        bootstrap([])
    low, high = bootstrap([0.0, 1.0] * 500)
    assert high - low == pytest.approx(2 * 1.96 * 0.5 / math.sqrt(1000), rel=0.1)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
@hypothesis.settings(max_examples=10)
def test_both_ways_to_an_interval_are_one(values: list[float]) -> None:
    assert bootstrap(values) == pytest.approx(metrics.bootstrap(np.mean, values), abs=1e-12)


# --- resources ---


def test_memory_and_processor_time_are_seen(tmp_path: Path) -> None:
    with Watch(tmp_path) as watch:
        block = np.ones(20_000_000)  # 160 MB
        for _ in range(3):
            block = np.sqrt(block)
    assert watch.resources.cpu_s > 0
    assert watch.resources.peak_rss_mb > 160
    assert watch.resources.energy_j is None
    assert "no energy counter" in watch.resources.energy_note
    assert not [t for t in threading.enumerate() if t.name == "labkit-watch"]


def zone(folder: Path, name: str, energy: object, most: int = 1000) -> Path:
    path = folder / name
    path.mkdir(exist_ok=True)
    (path / "energy_uj").write_text(f"{energy}\n")
    (path / "max_energy_range_uj").write_text(f"{most}\n")
    return path


def test_energy_adds_packages_and_not_their_parts(tmp_path: Path) -> None:
    for name, energy in (("intel-rapl:0", 5), ("intel-rapl:1", 900), ("intel-rapl:0:0", 5)):
        zone(tmp_path, name, energy)
    meter = Energy(tmp_path)
    meter.start()
    zone(tmp_path, "intel-rapl:0", 105)
    zone(tmp_path, "intel-rapl:1", 50)  # it began anew
    zone(tmp_path, "intel-rapl:0:0", 999)
    meter.stop()
    assert meter.joules == pytest.approx((100 + 150) / 1e6)
    assert "RAPL" in meter.note


@pytest.mark.parametrize("broken", ["", "many", "-"])
def test_a_counter_that_cannot_be_read_is_not_measured(tmp_path: Path, broken: str) -> None:
    zone(tmp_path, "intel-rapl:0", 5)
    meter = Energy(tmp_path)
    meter.start()
    zone(tmp_path, "intel-rapl:0", broken)
    meter.stop()
    assert meter.joules is None
    assert meter.note.startswith("not measured")


def test_a_counter_for_the_administrator_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zone(tmp_path, "intel-rapl:0", 5)

    def refused(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refused)
    meter = Energy(tmp_path)
    meter.start()
    meter.stop()
    assert meter.joules is None
    assert "administrator" in meter.note


# --- prices ---


def test_the_course_table_says_that_it_is_an_example() -> None:
    prices = Prices.load()
    assert "example" in prices.source
    assert all("example" in name for name in prices.models)
    assert "FUTURE" in prices.age(date(2020, 1, 1))
    assert "OLD" in prices.age(date(2030, 1, 1))
    assert "OLD" not in prices.age(prices.date)
    with pytest.raises(ConfigError, match="no 'gpt'"):
        prices.tokens("gpt", 1, 0, 1)


def test_tokens_and_seconds_become_money() -> None:
    prices = Prices.load()
    name, price = next(iter(prices.models.items()))
    expected = (600 * price.input + 400 * price.cached + 50 * price.output) / 1e6
    assert prices.tokens(name, 1000, 400, 50) == pytest.approx(expected)
    seconds = (0.0 + 1.0 + 2.0) / 3
    cost = prices.own_machine(small("ccc"))
    power = prices.machine.watts * seconds / 3.6e6 * prices.machine.kwh
    assert cost.per_thousand == pytest.approx(1000 * (seconds * prices.machine.per_second + power))
    assert "assumed" in cost.basis
    measured = Resources(peak_rss_mb=1, cpu_s=1, energy_j=3.6e6 * 3)  # a kilowatt-hour each
    cost = prices.own_machine(small("ccc", resources=measured))
    assert cost.per_thousand == pytest.approx(
        1000 * (seconds * prices.machine.per_second + prices.machine.kwh)
    )
    assert "measured" in cost.basis


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("date = 2026-11-22", 'date = "soon"', "date"),
        ("input = 2.50", "input = -1", "input"),
        ("input = 2.50", "input = nan", "input"),
        ("input = 2.50", "", "input"),
        ("busy_share = 0.10", "busy_share = 0", "busy_share"),
        ("years = 4", "years = 0", "years"),
        ("currency", "currency = ", "cannot be read"),
    ],
)
def test_a_price_table_with_a_mistake_is_refused(
    root: Path, tmp_path: Path, old: str, new: str, told: str
) -> None:
    text = (root / "data" / "prices.toml").read_text(encoding="utf-8")
    path = tmp_path / "prices.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConfigError, match=told):
        Prices.load(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        Prices.load(tmp_path / "none.toml")


# --- a way that can be cut ---


def test_a_link_carries_until_it_is_cut() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        link = Link(server.getsockname()[1])
        with socket.create_connection(("127.0.0.1", link.port), timeout=5) as near:
            far, _ = server.accept()
            with far:
                near.sendall(b"hello")
                assert far.recv(5) == b"hello"
                far.sendall(b"back")
                assert near.recv(4) == b"back"
                link.cut()
                link.cut()
                assert not link.up
                with suppress(ConnectionError):  # a reset, or on some systems an end
                    assert near.recv(1) == b""
        with pytest.raises(OSError, match=r".*"):
            socket.create_connection(("127.0.0.1", link.port), timeout=5)


def test_a_link_to_nobody_refuses() -> None:
    link = Link(free_port())
    try:
        with (
            suppress(ConnectionError),  # at once, or when it is read
            socket.create_connection(("127.0.0.1", link.port), timeout=5) as near,
        ):
            assert near.recv(1) == b""
    finally:
        link.cut()


@pytest.mark.slow
def test_a_server_that_is_cut_off_or_killed_costs_one_answer(model: Client, tmp_path: Path) -> None:
    server = evaluate.FarServer("smollm2-135m", settings(context=512, home=tmp_path))
    try:
        server.load()
        assert server.process is not None
        pid = server.process.pid
        for act in (server.cut, server.kill):
            server.mend()
            both = Client(FailoverBackend([server, model.backend], settings()))
            run = evaluate.run(
                Suite("offline", [Case(str(i), "Tell me about the sea.", lambda said: "") for i in range(4)]),
                lambda client, words: client.complete(words, max_tokens=24).text,
                both,
                disturb=("1", act),
            )
            assert [r.outcome for r in run.results] == ["completed", "lost", "completed", "completed"]
            names = [r.backend.partition(":")[0] for r in run.results]
            assert names == ["llamaserver", "llamaserver", "llamacpp", "llamacpp"]
            assert not server.health().ok
        assert server.process.pid == pid  # nobody started it again
        assert not server.process.running
    finally:
        server.close()
