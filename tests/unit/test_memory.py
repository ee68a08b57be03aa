"""Memory: nothing is lost, nothing is invented, nothing forgotten remains; with several kernels, crashes and bad files."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit import Client, database
from labkit.backends.scripted import ScriptedBackend
from labkit.errors import ConfigError, ContextOverflow
from labkit.memory import Memory, Session
from labkit.messages import Message, ToolCall, assistant, system, user
from labkit.window import extract, model_summary


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Memory]:
    with closing(Memory(tmp_path / "memory.db")) as made:
        yield made


def tool_turn(n: int, call: str = "call_1") -> list[Message]:
    return [
        user(f"Where is order {n}?"),
        Message("assistant", "", (ToolCall("order_status", {"order_id": n}, call, -0.5),)),
        Message("tool", json.dumps({"order_id": n, "status": "sent"}), (), call),
        assistant(f"Order {n} was sent."),
    ]


def words(messages: Sequence[Message]) -> int:
    return sum(2 + len(m.content.split()) + 3 * len(m.tool_calls) for m in messages)


# --- storing ---


def test_a_conversation_comes_back_as_it_was(memory: Memory, tmp_path: Path) -> None:
    said = [system("Be brief."), *tool_turn(20001), user("line\nbreak\x00 \ud800 emoji 🧦 'quote\" -- ;")]
    for message in said:
        memory.session("ana").add(message)
    memory.close()
    with closing(Memory(tmp_path / "memory.db")) as again:
        assert again.session("ana").messages == tuple(said)
        assert again.sessions() == ["ana"]


def test_several_messages_are_stored_together_or_not_at_all(memory: Memory) -> None:
    session = memory.session("ana")
    bad = Message("assistant", "", (ToolCall("t", {"x": object()}),))
    with pytest.raises(ConfigError, match="no JSON"):
        session.add(user("one"), bad)
    assert session.messages == ()
    session.add(user("one"), assistant("two"))
    assert len(session.messages) == 2


def test_any_mapping_may_hold_arguments(memory: Memory) -> None:
    session = memory.session("ana")
    session.add(Message("assistant", "", (ToolCall("t", MappingProxyType({"x": [1, {"y": None}]})),)))
    assert session.messages[0].tool_calls[0].arguments == {"x": [1, {"y": None}]}


@given(st.text(), st.text(), st.text())
def test_any_text_can_be_stored(content: str, name: str, pending: str) -> None:
    with closing(Memory()) as memory:
        session = memory.session("s")
        session.add(user(content))
        session.remember(name, content)
        session.pending = pending
        assert session.messages == (user(content),)
        assert session.facts == {name: content}
        assert session.pending == pending
        assert json.loads(json.dumps(memory.export("s"))) == memory.export("s")


def test_facts_are_kept_replaced_and_must_be_json(memory: Memory) -> None:
    session = memory.session("ana")
    session.remember("email", "ana@example.org")
    session.remember("orders", [20001])
    session.remember("email", "ana@example.com")
    assert session.facts == {"email": "ana@example.com", "orders": [20001]}
    loop: list[Any] = []
    loop.append(loop)
    for value in (object(), {1, 2}, b"x", loop):
        with pytest.raises(ConfigError):
            session.remember("bad", value)
    assert memory.session("bob").facts == {}


def test_pending_words_wait_across_programs(memory: Memory, tmp_path: Path) -> None:
    assert memory.session("ana").pending == ""
    memory.session("ana").pending = "I want my money back."
    memory.close()
    with closing(Memory(tmp_path / "memory.db")) as again:
        assert again.session("ana").pending == "I want my money back."
        again.session("ana").pending = ""
        assert again.session("ana").pending == ""


def test_looking_at_a_session_does_not_make_one(memory: Memory) -> None:
    assert memory.session("ana").messages == ()
    assert memory.session("ana").window(words, 10) == ()
    assert memory.sessions() == []


@pytest.mark.parametrize("name", ["", "a\nb", "\x00", "\ud800"])
def test_a_session_needs_a_name(memory: Memory, name: str) -> None:
    for use in (memory.session, memory.forget, memory.export):
        with pytest.raises(ConfigError):
            use(name)


def test_a_name_is_never_read_as_sql(memory: Memory) -> None:
    name = "x'; DROP TABLE message; --"
    memory.session(name).add(user("hello"))
    assert memory.sessions() == [name]
    assert memory.session(name).messages == (user("hello"),)


# --- export and forget ---


def test_export_is_all_there_is_as_json(memory: Memory) -> None:
    session = memory.session("ana")
    session.add(*tool_turn(20001))
    session.remember("email", "ana@example.org")
    session.pending = "call me"
    data = json.loads(json.dumps(memory.export("ana")))
    assert data["id"] == "ana"
    assert data["facts"] == {"email": "ana@example.org"}
    assert data["pending"] == "call me"
    assert [m["role"] for m in data["messages"]] == ["user", "assistant", "tool", "assistant"]
    assert data["messages"][1]["tool_calls"][0]["arguments"] == {"order_id": 20001}
    with pytest.raises(ConfigError, match="no session 'bob'"):
        memory.export("bob")


def test_nothing_forgotten_is_left_in_any_file(memory: Memory, tmp_path: Path) -> None:
    other = Memory(tmp_path / "memory.db")
    other.session("bob").add(user("KEEPME-1"))
    session = memory.session("SECRET-ID")
    for i in range(200):
        session.add(user(f"SECRET-{i} " * 50))
    session.remember("SECRET-NAME", "SECRET-VALUE")
    session.pending = "SECRET-PENDING"
    session.window(words, 150, lambda _: "SECRET-SUMMARY")
    memory.forget("SECRET-ID")
    memory.forget("SECRET-ID")  # and again: no error
    files = [path for path in tmp_path.iterdir() if path.name.startswith("memory.db")]
    stored = b"".join(path.read_bytes() for path in files)
    assert b"SECRET" not in stored
    assert b"KEEPME-1" in stored
    assert memory.sessions() == other.sessions() == ["bob"]
    other.close()


def test_forgetting_says_so_when_a_reader_keeps_traces(
    memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_S", 0.05)
    memory.session("ana").add(user("secret"))
    with closing(sqlite3.connect(tmp_path / "memory.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM message").fetchall()
        with pytest.raises(ConfigError, match=r"traces|locked"):
            memory.forget("ana")
        reader.execute("COMMIT")
    memory.forget("ana")
    assert memory.sessions() == []


# --- several programs, threads and crashes ---

ADDS = """
import sys
from labkit.memory import Memory
from labkit.messages import user
session = Memory(sys.argv[1]).session("shared")
for i in range(int(sys.argv[3])):
    session.add(user(f"{sys.argv[2]} {i}"))
    print(i, flush=True)
"""


def start(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", ADDS, str(path), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_kernels_at_once_on_one_session_keep_all_messages_in_order(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"  # not there yet: all of them make it
    running = [start(path, name, 30) for name in ("a", "b", "c")]
    for process in running:
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 0, stderr
    with closing(Memory(path)) as memory:
        said = [m.content.split() for m in memory.session("shared").messages]
    assert len(said) == 90
    for name in "abc":
        assert [int(i) for who, i in said if who == name] == list(range(30))


@pytest.mark.slow
def test_a_crash_loses_at_most_the_step_in_flight(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    for kill_after in (0, 1, 7):
        path.unlink(missing_ok=True)
        process = start(path, "a", 100_000)
        assert process.stdout is not None
        done = 0
        for _ in range(kill_after + 1):
            done = int(process.stdout.readline()) + 1
        process.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
        rest, _ = process.communicate(timeout=30)
        done += len(rest.split())
        with closing(Memory(path)) as memory:
            said = [m.content for m in memory.session("shared").messages]
            assert said == [f"a {i}" for i in range(len(said))]
            assert done <= len(said) <= done + 1
            memory.session("shared").add(user("after"))
            assert memory.session("shared").messages[-1] == user("after")


def test_an_interrupted_transaction_leaves_nothing_and_blocks_nobody(memory: Memory) -> None:
    def interrupted() -> None:
        with memory.database.transaction() as db:
            db.execute("INSERT INTO session (id) VALUES ('half')")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert memory.sessions() == []
    memory.session("ana").add(user("works"))


def test_threads_may_share_a_memory() -> None:
    with closing(Memory()) as memory:
        threads = [
            threading.Thread(target=lambda n=n: [memory.session(n).add(user(str(i))) for i in range(50)])
            for n in ("a", "b", "a")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(memory.session("a").messages) == 100
        assert [m.content for m in memory.session("b").messages] == [str(i) for i in range(50)]


# --- files that cannot be used ---


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="folder must exist"):
        Memory(tmp_path / "no" / "memory.db").sessions()
    with pytest.raises(ConfigError, match="cannot be opened"):
        Memory(tmp_path).sessions()


def test_a_deleted_file_is_noticed_before_anything_is_lost(memory: Memory, tmp_path: Path) -> None:
    memory.session("ana").add(user("hello"))
    for path in tmp_path.glob("memory.db*"):
        path.unlink()
    with pytest.raises(ConfigError, match="deleted or moved"):
        memory.session("ana").add(user("again"))
    memory.close()
    memory.session("ana").add(user("a new file"))
    assert len(memory.session("ana").messages) == 1


def test_a_locked_file_is_waited_for_then_named(
    memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_S", 0.05)
    memory.session("ana").add(user("before"))
    with closing(sqlite3.connect(tmp_path / "memory.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(ConfigError, match="locked by another program"):
            memory.session("ana").add(user("now"))
        assert memory.session("ana").messages == (user("before"),)  # reading goes on
        other.execute("COMMIT")
    memory.session("ana").add(user("after"))
    assert [m.content for m in memory.session("ana").messages] == ["before", "after"]


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write anywhere"
)
def test_a_read_only_file_is_named(memory: Memory, tmp_path: Path) -> None:
    memory.session("ana").add(user("hello"))
    memory.close()
    (tmp_path / "memory.db").chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(ConfigError, match="cannot be"):
            memory.session("ana").add(user("again"))
    finally:
        tmp_path.chmod(0o755)


def test_writing_to_what_is_read_only_is_explained(memory: Memory) -> None:
    memory.session("ana").add(user("hello"))
    memory.database.read("PRAGMA query_only = ON")
    with pytest.raises(ConfigError, match="cannot be written"):
        memory.session("ana").add(user("again"))


@pytest.mark.parametrize("content", [b"this is no database, it is a letter " * 40, b"\x00" * 5000])
def test_a_file_that_is_no_database_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "memory.db"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="no SQLite file"):
        Memory(path).session("ana").add(user("hello"))
    assert path.read_bytes() == content


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    with closing(Memory(path)) as memory:
        for i in range(300):
            memory.session("ana").add(user(f"{i} " * 60))
    data = bytearray(path.read_bytes())
    data[4096:-4096] = b"\xff" * (len(data) - 8192)
    path.write_bytes(data)
    with closing(Memory(path)) as memory, pytest.raises(ConfigError, match="damaged"):
        _ = memory.session("ana").messages


def test_a_foreign_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE message (subject TEXT)")
    with closing(Memory(path)) as memory, pytest.raises(ConfigError, match="cannot be used"):
        memory.session("ana").add(user("hello"))


# --- the window ---


def test_what_fits_is_left_alone(memory: Memory) -> None:
    session = memory.session("ana")
    said = [system("Be brief."), *tool_turn(1), *tool_turn(2)]
    session.add(*said)
    session.remember("name", "Ana")
    assert session.window(words, words(said)) == tuple(said)


def test_what_does_not_fit_goes_and_its_numbers_and_the_facts_stay(memory: Memory) -> None:
    session = memory.session("ana")
    session.add(system("Be brief."))
    for n in range(20001, 20021):
        session.add(*tool_turn(n))
    session.remember("email", "ana@example.org")
    window = session.window(words, 120)
    assert words(window) <= 120
    assert window[0].role == "system"
    assert window[0].content.startswith("Be brief.\n\n")
    assert 'email = "ana@example.org"' in window[0].content
    assert "Order 20" in window[0].content  # word for word
    assert window[1].role == "user"
    assert window[1:] == session.messages[-len(window) + 1 :]
    assert len(session.messages) == 81  # nothing is deleted


def test_after_a_cut_the_windows_begin_with_the_same_words(memory: Memory) -> None:
    session = memory.session("ana")
    session.add(system("Be brief."))
    cuts, before = 0, ()
    asked: list[int] = []

    def summarise(messages: Sequence[Message]) -> str:
        asked.append(len(messages))
        return f"{len(messages)} messages went"

    for n in range(100):
        session.add(*tool_turn(n))
        window = session.window(words, 400, summarise)
        assert words(window) <= 400
        cuts += window[: len(before)] != before
        before = window
    assert cuts == len(asked) < 25
    assert asked == sorted(asked)


def test_a_new_program_continues_with_the_same_window(memory: Memory, tmp_path: Path) -> None:
    session = memory.session("ana")
    for n in range(40):
        session.add(*tool_turn(n))
    window = session.window(words, 200)
    with closing(Memory(tmp_path / "memory.db")) as again:
        assert again.session("ana").window(words, 200, lambda _: pytest.fail("no new cut")) == window
        wide = again.session("ana").window(words, 100_000)  # a larger model may see all of it
        assert wide == session.messages


def test_a_changed_fact_is_never_shown_in_its_old_form(memory: Memory) -> None:
    session = memory.session("ana")
    for n in range(40):
        session.add(*tool_turn(n))
    session.remember("city", "Leeds")
    assert 'city = "Leeds"' in session.window(words, 200)[0].content
    session.remember("city", "York")
    assert 'city = "York"' in session.window(words, 200)[0].content
    assert "Leeds" not in session.window(words, 200)[0].content


def test_a_summary_without_room_goes_before_the_conversation_does(memory: Memory) -> None:
    session = memory.session("ana")
    for n in range(40):
        session.add(*tool_turn(n))
    window = session.window(words, 60, lambda _: "far too long " * 50)
    assert words(window) <= 60
    assert window[-1] == session.messages[-1]
    assert not any("far too long" in m.content for m in window)


def test_a_message_that_is_too_long_says_so(memory: Memory) -> None:
    session = memory.session("ana")
    session.add(system("Be brief."), user("word " * 10_000))
    with pytest.raises(ContextOverflow, match="newest message"):
        session.window(words, 500)
    session.add(user("short"))
    assert [m.content for m in session.window(words, 500)][-1] == "short"


def test_mixed_turns_of_two_programs_stay_whole(memory: Memory) -> None:
    session = memory.session("ana")
    call = Message("assistant", "", (ToolCall("t", {}),))
    answer = Message("tool", "done", (), "call_1")
    session.add(user("old " * 30), user("a"), call, user("b"), call, answer, answer)
    window = session.window(words, 40)
    assert window[-6:] == session.messages[-6:]


def test_a_call_that_a_crash_left_unanswered_does_not_hold_the_window(memory: Memory) -> None:
    session = memory.session("ana")
    session.add(user("first"), Message("assistant", "", (ToolCall("t", {}),)))
    for n in range(50):
        session.add(*tool_turn(n))
    assert words(session.window(words, 100)) <= 100


def test_a_result_that_comes_after_the_cut_is_not_left_alone(memory: Memory) -> None:
    session = memory.session("ana")
    session.add(*tool_turn(1), user("a " * 40), Message("assistant", "", (ToolCall("t", {}, "slow"),)))
    session.add(user("b " * 40))
    session.window(words, 60)  # another program cuts while the tool of the first one runs
    session.add(Message("tool", "done", (), "slow"))
    assert whole(session.window(words, 100))


def whole(window: Sequence[Message]) -> bool:
    open_calls: list[str] = []
    for message in window:
        open_calls += [call.id for call in message.tool_calls]
        if message.role == "tool":
            if message.tool_call_id not in open_calls:
                return False
            open_calls.remove(str(message.tool_call_id))
    return True


turns = st.lists(
    st.one_of(
        st.builds(lambda n, text: [user(text), *tool_turn(n, f"c{n}")], st.integers(0, 9), st.text("ab ", max_size=40)),
        st.builds(lambda text: [user(text), assistant(text)], st.text("ab \n", max_size=80)),
        st.builds(lambda text: [assistant(text)], st.text("ab ", max_size=20)),
    ),
    max_size=12,
)  # fmt: skip


@given(
    turns,
    st.booleans(),
    st.integers(1, 80),
    st.dictionaries(st.text("xy", min_size=1), st.integers(), max_size=3),
)
def test_every_window_fits_is_whole_and_ends_with_the_newest(
    said: list[list[Message]], instructed: bool, limit: int, facts: dict[str, int]
) -> None:  # fmt: skip
    with closing(Memory()) as memory:
        session = memory.session("s")
        for name, value in facts.items():
            session.remember(name, value)
        session.add(*([system("Be very brief.")] * instructed))
        for turn in said:
            session.add(*turn)
            try:
                window = session.window(words, limit)
            except ContextOverflow:
                newest = turn[-1:] if turn[-1].role != "tool" else turn
                assert words([*session.messages[:instructed], *newest]) > limit
                continue
            assert words(window) <= limit
            assert whole(window)
            body = window[1:] if window and window[0].role == "system" else window
            assert body == session.messages[len(session.messages) - len(body) :]
            assert body
            if instructed:
                assert window[0].content.startswith("Be very brief.")


# --- summaries ---


def test_an_extract_is_word_for_word() -> None:
    said = [*tool_turn(20001), user("Thanks! My number is 555-0101. Bye.")]
    text = extract(said)
    assert text == 'The assistant said: "Order 20001 was sent." The user said: "My number is 555-0101."'
    assert extract([user("Hello. How are you?"), assistant("Fine.")]) == 'The user said: "How are you?"'
    assert extract([]) == ""


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("The user asked about order 20001.", True),
        ("Order 20001, which was sent.", True),
        ("The user asked about order 20002.", False),
        ("The user has 3 orders.", False),
        ("The user has three orders.", False),
        ("Ticket T-20001 is open.", False),
        ("", False),
        ("   ", False),
    ],
)
def test_a_models_summary_with_an_invented_number_is_dropped(written: str, kept: bool) -> None:
    said = tool_turn(20001)
    with Client(ScriptedBackend([written])) as client:
        assert model_summary(client)(said) == (written if kept else extract(said))


def test_a_very_long_conversation_does_not_overflow_the_model_that_sums_it_up() -> None:
    said = [message for n in range(500) for message in tool_turn(n)]
    backend = ScriptedBackend(["Many orders."])
    with Client(backend) as client:
        assert model_summary(client)(said) == "Many orders."
    assert len(backend.requests[0].messages[-1].content) <= 2000


def test_the_real_model_and_its_own_tokens(model: Client, memory: Memory) -> None:
    session = memory.session("ana")
    session.add(system("You help customers."))
    for n in range(20001, 20016):
        session.add(user(f"Where is order {n}?"), assistant(f"Order {n} was sent on 2026-12-0{n % 9 + 1}."))
    count: Callable[[Sequence[Message]], int] = lambda part: len(model.encode(list(part)))  # noqa: E731
    window = session.window(count, 300, model_summary(model, 30))
    assert count(window) <= 300
    assert isinstance(session, Session)
    assert model.complete(list(window), max_tokens=2).text
