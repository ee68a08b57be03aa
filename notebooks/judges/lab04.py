"""Judge of lab 04. Every case is generated from the seed; expected values stay in this process.

What a learner's function meets (a server, events, members) is made in the learner's kernel by the programs below. They hold inputs only.
"""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
from labkit.backends.toy import ToyModel
from labkit.grading import Student, grades

WORDS = [
    "harbour",
    "Grüße",
    "世界",
    "😀",
    "data: x",
    "[DONE]",
    "line\u2028end",
    "next\x85one",
    'a "quoted" word',
    "back\\slash",
    "\n\n",
    "é",
]
JUNK = [
    b": still here",
    b"event: ping",
    b"id: 7",
    b"retry: 100",
    b"",
    b"datum: {}",
    b': data: {"no": 1}',
]
NAMES = ["pier", "quay", "dock", "mole", "reef"]
ABILITIES = ["schema", "grammar", "logprobs", "score", "seed", "tools"]
OPTIONS = ["max_tokens", "stop", "seed", "schema"]
AGAINST = ["system", "memory", "capabilities", "server", "users"]


# --- request_body ---

_BODY = """
from labkit.messages import Message, Request
options = {**case["options"], "stop": tuple(case["options"].get("stop", ()))}
talk = tuple(Message(role, words) for role, words in case["talk"])
try:
    outcome = work(case["model"], Request(talk, **options))
except Exception as error:
    outcome = type(error).__name__
"""


@grades("lab04-request-body")
def test_bodies(student: Student, rng: np.random.Generator) -> None:
    for _ in range(10):
        talk = [
            [str(rng.choice(["system", "user", "assistant"])), _text(rng)]
            for _ in range(int(rng.integers(1, 6)))
        ]
        options: dict[str, Any] = {
            "max_tokens": int(rng.integers(1, 900)),
            "temperature": float(rng.choice([0.0, 0.7, 1.5])),
            "top_p": float(rng.choice([0.5, 1.0])),
            "seed": int(rng.integers(0, 99)),
        }
        want = {"messages": [{"role": r, "content": t} for r, t in talk], **options}
        if rng.random() < 0.5:
            options["stop"] = want["stop"] = [
                str(w) for w in rng.permutation(WORDS)[: rng.integers(1, 5)]
            ]
        if rng.random() < 0.5:
            options["top_k"] = want["top_k"] = int(rng.integers(1, 50))
        if rng.random() < 0.5:
            options["schema"] = (
                {} if rng.random() < 0.3 else {"type": str(rng.choice(NAMES))}
            )
            wanted = {"name": "answer", "schema": options["schema"], "strict": True}
            want["response_format"] = {"type": "json_schema", "json_schema": wanted}
        model = str(rng.choice(NAMES))
        want |= {
            "model": model,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        case = {"model": model, "talk": talk, "options": options}
        assert _run(student, "request_body", _BODY, case) == want


@grades("lab04-request-body")
def test_too_many_stop_strings(student: Student, rng: np.random.Generator) -> None:
    for n, fits in ((4, True), (5, False), (7, False)):
        options = {"stop": [str(w) for w in rng.permutation(WORDS)[:n]]}
        case = {"model": "m", "talk": [["user", _text(rng)]], "options": options}
        got = _run(student, "request_body", _BODY, case)
        assert (
            got["stop"] == options["stop"] and len(got) == 9
            if fits
            else got == "ConfigError"
        )


# --- read_events ---

_EVENTS = """
asked, rows, failed = [], [], ""
def pieces():
    for piece in case["pieces"]:
        asked.append(piece)
        yield bytes.fromhex(piece)
try:
    for event in work(pieces()):
        rows.append([event, len(asked)])
except Exception as error:
    failed = type(error).__name__
outcome = [rows, failed, len(asked)]
"""


@grades("lab04-read-events")
def test_events_however_they_are_cut(
    student: Student, rng: np.random.Generator
) -> None:
    for _ in range(12):
        events = [_event(rng) for _ in range(int(rng.integers(0, 6)))]
        end = b"\r\n" if rng.random() < 0.4 else b"\n"
        stream = b"".join(_lines(rng, e, end) for e in events)
        if rng.random() < 0.6:
            stream += b"data: [DONE]" + 2 * end + _lines(rng, {"late": 1}, end)
        else:
            stream += b'data: {"half": 1}'  # no line break, so no whole line
        _events_come(student, rng, stream, "")


@grades("lab04-read-events")
def test_events_that_are_none(student: Student, rng: np.random.Generator) -> None:
    for bad in (b"{oops}", b"[1]", b"7", b'"text"', b"null", b'{"a": "\xc3"}', b"x"):
        good = b"".join(
            _lines(rng, _event(rng), b"\n") for _ in range(int(rng.integers(0, 3)))
        )
        _events_come(student, rng, good + b"data: " + bad + b"\n\n", "BackendError")


@grades("lab04-read-events")
def test_events_byte_by_byte(student: Student, rng: np.random.Generator) -> None:
    stream = b"".join(_lines(rng, _event(rng), b"\r\n") for _ in range(3))
    _events_come(student, rng, stream, "", every=1)
    _events_come(student, rng, stream, "", every=len(stream))
    _events_come(student, rng, b"", "")


# --- read_answer ---

_ANSWER = """
import time
sent, rows, failed = [], [], ""
started = time.perf_counter() - case["ago"]
def events():
    for event in case["events"]:
        time.sleep(case["pause"])
        sent.append(time.perf_counter() - started)
        yield event
try:
    for chunk in work(events(), started):
        u = chunk.usage
        told = u and [u.prompt_tokens, u.cached_tokens, u.completion_tokens, u.prefill_s, u.decode_s]
        rows.append([chunk.text, chunk.finish_reason, told, len(sent), time.perf_counter() - started])
except Exception as error:
    failed = [type(error).__name__, str(error)]
outcome = [rows, failed, sent]
"""


@grades("lab04-read-answer")
def test_answers(student: Student, rng: np.random.Generator) -> None:
    for _ in range(8):
        texts = [_text(rng) for _ in range(int(rng.integers(0, 6)))]
        _answer_comes(student, rng, texts, told=bool(rng.random() < 0.5))
    _answer_comes(student, rng, [], told=False)
    _answer_comes(student, rng, ["a", "b", "c"], told=True)


@grades("lab04-read-answer")
def test_answers_that_are_broken(student: Student, rng: np.random.Generator) -> None:
    secret = f"fault {rng.integers(1000, 9999)}"
    odd: list[dict[str, Any]] = [
        {"error": {"message": secret}},
        {"error": secret},
        {"error": {"message": secret}, "choices": []},
        {"error": {"message": secret}, **_delta("x")},
        {"odd": 1},
        {"choices": [7]},
        {"choices": "text"},
        {"choices": {"a": 1}},
        {"choices": [{"delta": 5, "finish_reason": None}]},
    ]
    for event in odd:
        texts = [_text(rng) for _ in range(int(rng.integers(0, 4)))]
        events = [_delta(t) for t in texts]
        case = {"events": [*events, event, _delta("z", "stop")], "ago": 1.0, "pause": 0}
        rows, failed, _ = _run(student, "read_answer", _ANSWER, case)
        assert [row[0] for row in rows] == texts
        assert failed[0] == "BackendError"
        assert secret in failed[1] or "error" not in event
    for texts in ([], ["a"], [_text(rng), _text(rng)]):
        events = [
            *map(_delta, texts),
            {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
        ]
        rows, failed, _ = _run(
            student, "read_answer", _ANSWER, {"events": events, "ago": 1.0, "pause": 0}
        )
        assert [row[0] for row in rows] == texts
        assert failed[0] == "BackendError"


# --- HttpBackend ---

_BACKEND = """
from labkit.backends.scripted_http import Reply, ScriptedServer
from labkit.messages import Message, Request
steps = [
    Reply([bytes.fromhex(p) for p in s["pieces"]], s["status"], {}, s["kind"], s["cut"])
    for s in case["steps"]
]
answers = []
with ScriptedServer(steps) as server:
    backend = work(case["model"], server.url)
    backend.load()
    for words, limit in case["asked"]:
        rows, failed = [], ["", ""]
        try:
            for c in backend.stream(Request((Message("user", words),), max_tokens=limit)):
                u = c.usage
                told = u and [u.prompt_tokens, u.completion_tokens, u.prefill_s > 0, u.decode_s >= 0]
                rows.append([c.text, c.finish_reason, told])
        except Exception as error:
            failed = [type(error).__name__, str(error)]
        answers.append([rows, failed])
    backend.close()
    sent = [[b["model"], b["messages"], b["max_tokens"], b["stream"]] for b in server.requests]
outcome = [answers, sent]
"""

_LEFT = """
from labkit.backends.scripted_http import ScriptedServer, said
from labkit.messages import Message, Request
with ScriptedServer([said(*case["texts"], pause=0.01), said(case["then"])]) as server:
    backend = work("m", server.url)
    backend.load()
    stream = backend.stream(Request((Message("user", "Hi"),)))
    first = next(stream).text
    stream.close()
    told = server.left.wait(10)
    again = "".join(c.text for c in backend.stream(Request((Message("user", "Hi"),))))
    backend.close()
outcome = [first, told, again]
"""

_GONE = """
import httpx
from labkit.backends.process import free_port
from labkit.messages import Message, Request
url = f"http://127.0.0.1:{free_port()}/v1"
backend = work("m", url)
backend.http = httpx.Client(base_url=url, trust_env=False, timeout=5)
try:
    outcome = [c.text for c in backend.stream(Request((Message("user", "Hi"),)))]
except Exception as error:
    outcome = type(error).__name__
backend.close()
"""


@grades("lab04-backend")
def test_backend_answers_and_errors(student: Student, rng: np.random.Generator) -> None:
    texts = [_text(rng) for _ in range(int(rng.integers(2, 6)))]
    secret = f"fault {rng.integers(1000, 9999)}"
    cost = {"prompt_tokens": int(rng.integers(1, 99)), "completion_tokens": len(texts)}
    good = b"".join(
        b"data: " + json.dumps(e, ensure_ascii=False).encode() + b"\n\n"
        for e in [
            *map(_delta, texts),
            _delta(None, "stop"),
            {"choices": [], "usage": cost},
        ]
    )
    whole = [[t, None, None] for t in texts]
    whole.append(["", "stop", [cost["prompt_tokens"], len(texts), True, True]])
    begun = b"".join(
        b"data: " + json.dumps(_delta(t)).encode() + b"\n\n" for t in texts
    )
    half = whole[:-1]
    server_fails = int(rng.choice([500, 502, 503, 529, 599]))
    refuses = int(rng.choice([400, 401, 404, 413, 422]))
    body = json.dumps({"error": {"message": secret}}).encode()
    page = f"<html>{secret} \xe4</html>".encode("latin-1")
    cases: list[tuple[dict[str, Any], list[Any], str, str]] = [
        (_step(rng, good + b"data: [DONE]\n\n"), whole, "", ""),
        (_step(rng, begun, cut=True), half, "BackendError", ""),
        (_step(rng, b"", cut=True), [], "BackendUnavailable", ""),
        (_step(rng, begun + b"data: [DONE]\n\n"), half, "BackendError", ""),
        (_step(rng, body, 429), [], "BackendUnavailable", f"429 {secret}"),
        (
            _step(rng, page, server_fails),
            [],
            "BackendUnavailable",
            f"{server_fails} {secret}",
        ),
        (_step(rng, body, 503), [], "BackendUnavailable", f"503 {secret}"),
        (_step(rng, body, refuses), [], "BackendError", f"{refuses} {secret}"),
        (_step(rng, page, 403), [], "BackendError", f"403 {secret}"),
        (_step(rng, body, 202), [], "BackendError", f"202 {secret}"),
        (_step(rng, page, kind="text/html"), [], "BackendError", ""),
        (_step(rng, b"data: {oops\n\n"), [], "BackendError", ""),
        (_step(rng, good + b"data: [DONE]\n\n"), whole, "", ""),
    ]
    order = [int(i) for i in rng.permutation(len(cases))]
    asked = [[_text(rng), int(rng.integers(1, 99))] for _ in order]
    case = {
        "model": str(rng.choice(NAMES)),
        "steps": [cases[i][0] for i in order],
        "asked": asked,
    }
    answers, sent = _run(student, "HttpBackend", _BACKEND, case)
    for i, (rows, (kind, words)) in zip(order, answers, strict=True):
        _, want, error, quoted = cases[i]
        assert rows == want
        assert kind == error
        assert all(part in words for part in quoted.split(" ", 1))
    assert sent == [
        [case["model"], [{"role": "user", "content": w}], n, True] for w, n in asked
    ]


@grades("lab04-backend")
def test_backend_closed_early(student: Student, rng: np.random.Generator) -> None:
    texts = [f"word{n} " for n in rng.integers(0, 999, size=500)]
    then = _text(rng)
    case = {"texts": texts, "then": then}
    got = _run(student, "HttpBackend", _LEFT, case)
    assert got == [texts[0], True, then]


@grades("lab04-backend")
def test_backend_without_a_server(student: Student, rng: np.random.Generator) -> None:
    assert _run(student, "HttpBackend", _GONE, {}) == "BackendUnavailable"


# --- probes and verdict ---


@grades("lab04-honest")
def test_verdicts(student: Student, rng: np.random.Generator) -> None:
    some = [list(rng.permutation(OPTIONS)[: rng.integers(2, 4)]) for _ in range(3)]
    for ignored in ([], *([name] for name in OPTIONS), OPTIONS, *some):
        want = {name: name not in ignored for name in OPTIONS}
        toy = ToyModel(ignores=[str(i) for i in ignored])
        assert _verdict(student, lambda name, body, toy=toy: _ask(toy, body)) == want


@grades("lab04-honest")
def test_verdicts_of_odd_servers(student: Student, rng: np.random.Generator) -> None:
    toy, honest = ToyModel(), dict.fromkeys(OPTIONS, True)
    for refused in OPTIONS:
        got = _verdict(
            student,
            lambda name, body, refused=refused: (
                None if name == refused else _ask(toy, body)
            ),
        )
        assert got == {**honest, refused: False}

    def odd_json(body: Any) -> Any:
        wish = body["response_format"]["json_schema"]["schema"].get("properties", {})
        return _said(
            json.dumps(dict.fromkeys(wish, f"hello {rng.integers(99)}") or {"a": 1})
        )

    def same(body: Any) -> Any:
        return _ask(toy, {**body, "temperature": 0, "seed": 0})

    def too_many(body: Any) -> Any:
        return {
            "text": "a " * 900,
            "finish_reason": "length",
            "tokens": body["max_tokens"] + 900,
        }

    def cut_without_a_word(body: Any) -> Any:
        return {"text": "a b", "finish_reason": "stop", "tokens": body["max_tokens"]}

    def with_stop(body: Any) -> Any:
        stops = body["stop"] if isinstance(body["stop"], list) else [body["stop"]]
        return _said("sea" + "".join(stops))

    def broken_json(body: Any) -> Any:
        return _said('{"word": "hel')

    for option, answer in (
        ("schema", odd_json),
        ("schema", broken_json),
        ("schema", lambda body: _said("[]")),
        ("schema", lambda body: _said("")),
        ("seed", same),
        ("max_tokens", too_many),
        ("max_tokens", cut_without_a_word),
        ("stop", with_stop),
    ):
        got = _verdict(
            student,
            lambda name, body, option=option, answer=answer: (
                answer(body) if name == option else _ask(toy, body)
            ),
        )
        assert got == {**honest, option: False}


# --- ask_in_turn ---

_TURN = """
from labkit import errors
asked = []
def member(name, kind, words):
    def ask(prompt):
        asked.append([name, prompt])
        if kind == "answers":
            return words
        raise (ValueError(words) if kind == "ValueError" else getattr(errors, kind)(words, "a hint"))
    return name, ask
members = [member(*m) for m in case["members"]]
try:
    outcome = [work(members, case["prompt"], *case["first"]), "", "", asked]
except Exception as error:
    outcome = [None, type(error).__name__, getattr(error, "message", str(error)), asked]
"""


@grades("lab04-ask-in-turn")
def test_turns(student: Student, rng: np.random.Generator) -> None:
    for _ in range(14):
        kinds = [
            "answers",
            "BackendUnavailable",
            "BackendUnavailable",
            "BackendError",
            "ConfigError",
            "ValueError",
            "CapabilityMissing",
        ]
        odds = [0.25, 0.25, 0.25, 0.07, 0.06, 0.06, 0.06]
        n = int(rng.integers(1, 6))
        members = [
            [NAMES[i], str(rng.choice(kinds, p=odds)), f"words {rng.integers(999)}"]
            for i in range(n)
        ]
        _turn(student, rng, members, int(rng.integers(0, n)))


@grades("lab04-ask-in-turn")
def test_turn_edges(student: Student, rng: np.random.Generator) -> None:
    gone = [
        [name, "BackendUnavailable", f"words {rng.integers(1000, 9999)}"]
        for name in NAMES
    ]
    _turn(student, rng, gone, int(rng.integers(0, 5)))
    _turn(student, rng, gone[:1], 0)
    back = [["pier", "answers", ""], *gone[1:]]  # an empty answer is an answer
    _turn(student, rng, back, 1)
    _turn(student, rng, back, 0)
    _turn(student, rng, back, None)
    _turn(student, rng, [gone[0], ["quay", "BackendError", "odd"], back[0]], 0)


# --- choose_runtime ---


@grades("lab04-choose-runtime")
def test_choices(student: Student, rng: np.random.Generator) -> None:
    for _ in range(16):
        runtimes = [_runtime(rng, name) for name in NAMES[: rng.integers(0, 6)]]
        needs = {
            "capabilities": _some(rng, ABILITIES, 2),
            "shared": bool(rng.random() < 0.3),
            "users": int(rng.choice([1, 1, 4, 8])),
        }
        machine = {
            "system": str(rng.choice(["Linux", "Windows", "Darwin"])),
            "free_mb": int(rng.choice([300, 600, 4000])),
        }
        _choice(student, runtimes, needs, machine)


@grades("lab04-choose-runtime")
def test_choice_edges(student: Student, rng: np.random.Generator) -> None:
    easy = {"capabilities": [], "shared": False, "users": 1}
    machine = {"system": "Linux", "free_mb": int(rng.integers(400, 900))}
    plain = {
        "name": "a",
        "systems": ["Linux"],
        "memory_mb": machine["free_mb"],
        "capabilities": ABILITIES,
        "server": True,
        "at_once": int(rng.integers(2, 9)),
    }
    twin = {**plain, "name": "b"}
    small = {**plain, "name": "c", "memory_mb": 100, "server": False}
    for runtimes in (
        [plain, twin],
        [twin, plain],
        [plain, small],
        [small, twin, plain],
    ):
        _choice(student, runtimes, easy, machine)
        _choice(student, runtimes, {**easy, "shared": True}, machine)
        _choice(student, runtimes, {**easy, "users": plain["at_once"]}, machine)
        _choice(student, runtimes, {**easy, "users": plain["at_once"] + 1}, machine)
        _choice(student, runtimes, easy, {**machine, "free_mb": machine["free_mb"] - 1})
    nothing = {
        **small,
        "systems": [],
        "memory_mb": 9999,
        "capabilities": [],
        "at_once": 1,
    }
    hard = {"capabilities": [ABILITIES[0]], "shared": True, "users": 2}
    assert _choice(student, [nothing], hard, machine) == [None, {"c": AGAINST}]


# The judge's own answers, and its cases.


def _run(student: Student, name: str, program: str, case: Any) -> Any:
    """What a program makes of the learner's function or class, which it knows as ``work``."""
    expression = "(lambda box: (exec(case_program, box), box['outcome'])[1])({'case': case_data, 'work': %s})"
    return student.eval(expression % name, case_program=program, case_data=case)


def _text(rng: np.random.Generator) -> str:
    return " ".join(str(w) for w in rng.choice(WORDS, size=int(rng.integers(1, 4))))


def _event(rng: np.random.Generator) -> dict[str, Any]:
    return {"text": _text(rng), "n": int(rng.integers(0, 99))}


def _lines(rng: np.random.Generator, event: Any, end: bytes) -> bytes:
    """An event as a line, with other lines before it."""
    junk = b"".join(
        JUNK[int(i)] + end
        for i in rng.integers(0, len(JUNK), size=int(rng.integers(0, 3)))
    )
    space = b"" if rng.random() < 0.3 else b" "
    written = json.dumps(event, ensure_ascii=bool(rng.random() < 0.3))
    return junk + b"data:" + space + written.encode() + 2 * end


def _cut(rng: np.random.Generator, stream: bytes, every: int = 0) -> list[bytes]:
    """A stream in pieces, empty ones among them."""
    if every:
        return [stream[i : i + every] for i in range(0, len(stream), every)]
    places = sorted(
        int(i)
        for i in rng.integers(
            0, len(stream) + 1, size=len(stream) // 9 if stream else 0
        )
    )
    ends = [0, *places, len(stream)]
    return [stream[a:b] for a, b in itertools.pairwise(ends)]


def _events_come(
    student: Student,
    rng: np.random.Generator,
    stream: bytes,
    error: str,
    *,
    every: int = 0,
) -> None:
    pieces = _cut(rng, stream, every)
    want: list[tuple[Any, int]] = []
    most, over = len(pieces), False
    for line_end in (i for i, byte in enumerate(stream) if byte == 10):
        line = stream[: line_end + 1].splitlines(keepends=True)[-1]
        if not line.startswith(b"data:") or over:
            continue
        taken = next(
            n for n in range(1, len(pieces) + 1) if sum(map(len, pieces[:n])) > line_end
        )
        data = line[5:].strip()
        try:
            event = None if data == b"[DONE]" else json.loads(data)
        except ValueError:
            event = None
        if isinstance(event, dict):
            want.append((event, taken))
        else:
            most, over = taken, True
    rows, failed, asked = _run(
        student, "read_events", _EVENTS, {"pieces": [p.hex() for p in pieces]}
    )
    assert [row[0] for row in rows] == [event for event, _ in want]
    assert all(
        taken <= most_taken
        for (_, taken), (_, most_taken) in zip(rows, want, strict=True)
    )
    assert failed == error
    assert asked <= most


def _delta(
    text: str | None = None, finish: str | None = None, **more: Any
) -> dict[str, Any]:
    said = {} if text is None else {"content": text}
    return {"choices": [{"index": 0, "delta": said, "finish_reason": finish}], **more}


def _answer_comes(
    student: Student, rng: np.random.Generator, texts: list[str], *, told: bool
) -> None:
    finish = str(rng.choice(["stop", "length", "tool_calls", "content_filter"]))
    role = {
        "choices": [
            {"delta": {"role": "assistant", "content": None}, "finish_reason": None}
        ]
    }
    more = {"usage": None, "error": None} if rng.random() < 0.5 else {}
    events: list[dict[str, Any]] = [role] if rng.random() < 0.7 else []
    at: list[int] = []
    for text in texts:
        if rng.random() < 0.3:
            events.append(_delta("", **more))
        events.append(_delta(text, **more))
        at.append(len(events))
    if texts and rng.random() < 0.5:
        events[-1]["choices"][0]["finish_reason"] = finish  # with the last piece
    else:
        events.append(_delta(None, finish))
    cost = [int(rng.integers(1, 999)), int(rng.integers(1, 999))] if told else None
    if cost:
        usage = {"prompt_tokens": cost[0], "completion_tokens": cost[1]}
        events.append({"choices": [], "usage": usage})
    elif rng.random() < 0.5:
        events.append({"choices": [], "usage": None})
    case = {"events": events, "ago": float(rng.uniform(100, 900)), "pause": 0.01}
    rows, failed, sent = _run(student, "read_answer", _ANSWER, case)
    assert failed == ""
    assert [row[0] for row in rows] == [*texts, ""]
    assert [row[3] for row in rows] == [*at, len(events)]  # each piece as it came
    reasons = [None] * len(texts) + ["length" if finish == "length" else "stop"]
    assert [row[1] for row in rows] == reasons
    assert all(row[2] is None for row in rows[:-1])
    prompt, cached, made, prefill_s, decode_s = rows[-1][2]
    assert [prompt, cached, made] == (
        [cost[0], 0, cost[1]] if cost else [0, 0, len(texts)]
    )
    first_seen = rows[0][
        4
    ]  # when its chunk came out; the last chunk, if there is no text
    first_sent = sent[at[0] - 1] if at else sent[-1]
    assert first_sent - 1e-3 <= prefill_s <= first_seen + 1e-3
    if len(texts) < 2:
        assert abs(decode_s) <= 1e-3
    else:
        last_sent, last_seen = sent[at[-1] - 1], rows[-2][4]
        assert (
            last_sent - first_seen - 1e-3 <= decode_s <= last_seen - first_sent + 1e-3
        )


def _step(
    rng: np.random.Generator,
    stream: bytes,
    status: int = 200,
    *,
    cut: bool = False,
    kind: str = "text/event-stream",
) -> dict[str, Any]:
    pieces = [p.hex() for p in _cut(rng, stream)]
    return {"pieces": pieces, "status": status, "kind": kind, "cut": cut}


def _ask(toy: ToyModel, body: Any) -> dict[str, Any]:
    asked = {k: v for k, v in body.items() if k not in ("stream", "model")}
    answer = json.loads(b"".join(p for p in toy(asked).pieces if isinstance(p, bytes)))
    choice = answer["choices"][0]
    return {
        "text": choice["message"]["content"],
        "finish_reason": choice["finish_reason"],
        "tokens": answer["usage"]["completion_tokens"],
    }


def _said(text: str) -> dict[str, Any]:
    return {"text": text, "finish_reason": "stop", "tokens": 4}


def _verdict(student: Student, ask: Any) -> Any:
    """The learner's verdict on a server of the judge's: only its answers go in."""
    bodies = student.call("probes")
    assert sorted(bodies) == sorted(OPTIONS)
    answers = {name: [ask(name, body) for body in bodies[name]] for name in OPTIONS}
    return student.call("verdict", answers)


def _turn(
    student: Student, rng: np.random.Generator, members: list[Any], first: int | None
) -> None:
    prompt = _text(rng)
    start = first or 0
    failed: list[list[str]] = []
    asked: list[list[str]] = []
    want: list[Any] = [None, "BackendUnavailable", None]
    for step in range(len(members)):
        position = (start + step) % len(members)
        name, kind, words = members[position]
        asked.append([name, prompt])
        if kind == "answers":
            want = [[words, position, failed], "", ""]
            break
        if kind != "BackendUnavailable":
            want = [None, kind, words]
            break
        failed.append([name, words])
    case = {
        "members": members,
        "prompt": prompt,
        "first": [] if first is None else [first],
    }
    got, error, message, order = _run(student, "ask_in_turn", _TURN, case)
    assert order == asked
    assert [got, error] == want[:2]
    if want[2] is None:
        assert all(words in message for _, words in failed)
    else:
        assert message == want[2]


def _some(rng: np.random.Generator, among: list[str], most: int) -> list[str]:
    return [str(a) for a in rng.permutation(among)[: rng.integers(0, most + 1)]]


def _runtime(rng: np.random.Generator, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "systems": _some(rng, ["Linux", "Windows", "Darwin"], 3),
        "memory_mb": float(rng.choice([200, 300, 600, 3300])),
        "capabilities": [a for a in ABILITIES if rng.random() < 0.8],
        "server": bool(rng.random() < 0.6),
        "at_once": int(rng.choice([1, 8, 16])),
    }


def _choice(student: Student, runtimes: list[Any], needs: Any, machine: Any) -> Any:
    against: dict[str, list[str]] = {}
    best: dict[str, Any] | None = None
    for r in runtimes:
        bad = [
            machine["system"] not in r["systems"],
            r["memory_mb"] > machine["free_mb"],
            any(c not in r["capabilities"] for c in needs["capabilities"]),
            needs["shared"] and not r["server"],
            r["at_once"] < needs["users"],
        ]
        if any(bad):
            against[r["name"]] = [a for a, b in zip(AGAINST, bad, strict=True) if b]
        elif best is None or r["memory_mb"] < best["memory_mb"]:
            best = r
    want = [best["name"] if best else None, against]
    got = student.call("choose_runtime", runtimes, needs, machine)
    assert got == want
    return got
