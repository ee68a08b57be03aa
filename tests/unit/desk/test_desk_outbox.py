"""An outbox that loses and doubles nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from desk_help import HENRIK, MEILIN, at_once, dump

from labkit.desk import Desk, build, outbox, sync
from labkit.errors import ConfigError, OfflineError


@pytest.fixture
def busy(path: Path, desk: Desk) -> Path:
    """A desk with three entries in its outbox."""
    desk.create_ticket(MEILIN, "It hums.")
    desk.schedule_callback(MEILIN, "Monday", "09:30")
    desk.create_ticket(HENRIK, "It is dark.", 20022)
    return path


def test_every_write_has_an_entry(busy: Path) -> None:
    waiting = outbox.entries(busy, waiting=True)
    assert [e.kind for e in waiting] == ["ticket", "callback", "ticket"]
    assert waiting[2].payload == {
        "ticket_id": 5007,
        "customer_id": HENRIK,
        "order_id": 20022,
        "said": "It is dark.",
        "created": "2026-12-04",
    }
    assert len({e.key for e in waiting}) == 3


def test_keys_are_made_of_the_content(busy: Path, tmp_path: Path) -> None:
    other = build(tmp_path / "other.db")
    Desk(other).create_ticket(MEILIN, "It hums.")
    assert outbox.entries(other)[0].key == outbox.entries(busy)[0].key
    third = build(tmp_path / "third.db")
    Desk(third).create_ticket(MEILIN, "It hums!")
    assert outbox.entries(third)[0].key != outbox.entries(busy)[0].key


def test_sync_twice(busy: Path, tmp_path: Path) -> None:
    office = tmp_path / "head" / "office.db"
    assert sync(busy, office) == outbox.Synced(3, 0, 0)
    before = dump(office)
    assert sync(busy, office) == outbox.Synced(0, 0, 0)
    assert dump(office) == before
    assert [e.payload for e in outbox.received(office)] == [e.payload for e in outbox.entries(busy)]
    assert all(e.synced == "2026-12-04" for e in outbox.entries(busy))
    Desk(busy).create_ticket(HENRIK, "Another thing.")
    assert sync(busy, office) == outbox.Synced(1, 0, 0)
    assert len(outbox.received(office)) == 4


def test_a_crash_between_sending_and_marking(
    busy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = tmp_path / "office.db"

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(outbox, "mark", crash)
        with pytest.raises(KeyboardInterrupt):
            sync(busy, office)
    assert len(outbox.entries(busy, waiting=True)) == 3
    before = dump(office)
    assert sync(busy, office) == outbox.Synced(0, 3, 0)
    assert dump(office) == before


def test_a_process_that_dies_in_the_middle(busy: Path, tmp_path: Path) -> None:
    office = tmp_path / "office.db"
    program = (
        "import os, sys; from pathlib import Path; from labkit.desk import outbox\n"
        "def push(entry):\n"
        "    outbox.deliver(Path(sys.argv[2]), [entry])\n"
        "    os._exit(3) if entry.kind == 'callback' else None\n"
        "    return True\n"
        "outbox.sync(sys.argv[1], push)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(busy), str(office)], timeout=60, check=False)
    assert done.returncode == 3
    assert len(outbox.received(office)) == 2
    assert len(outbox.entries(busy, waiting=True)) == 2  # the callback is there, but not marked
    assert sync(busy, office) == outbox.Synced(1, 1, 0)
    assert len(outbox.received(office)) == 3


def test_a_head_office_that_fails(busy: Path) -> None:
    taken: list[str] = []

    def push(entry: outbox.Entry) -> bool:
        if len(taken) == 1:
            raise TimeoutError("no answer")
        taken.append(entry.key)
        return True

    with pytest.raises(OfflineError, match="did not take the callback: TimeoutError: no answer"):
        sync(busy, push)
    assert [e.synced is None for e in outbox.entries(busy)] == [False, True, True]
    assert sync(busy, lambda entry: entry.key not in taken) == outbox.Synced(2, 0, 0)


def test_syncs_at_once(busy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (outbox.sync.__globals__, outbox.session.__wrapped__.__globals__):  # type: ignore[attr-defined]
        monkeypatch.setitem(module, "WAIT_S", 10)
    office = tmp_path / "office.db"
    results = at_once(*[lambda: sync(busy, office)] * 6)
    assert sum(r.sent for r in results if isinstance(r, outbox.Synced)) == 3
    assert len(outbox.received(office)) == 3
    assert not outbox.entries(busy, waiting=True)


def test_head_offices_that_cannot_be_used(busy: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.db"
    text.write_text("x" * 4096)
    for office in (busy, text, tmp_path, text / "below" / "office.db"):
        with pytest.raises(ConfigError) as caught:
            sync(busy, office)
        assert caught.value.hint
    assert len(outbox.entries(busy, waiting=True)) == 3
    assert outbox.received(tmp_path / "none.db") == []
