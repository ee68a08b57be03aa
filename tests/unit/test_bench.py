import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from labkit import cli
from labkit.bench import engine


def test_the_engine_bench_measures_both_sides_in_one_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(engine, "ROUNDS", 1)
    monkeypatch.setattr(engine, "TOKENS", 6)
    monkeypatch.setattr(engine, "LONG", "The ferry leaves at nine. Summarise this.")
    file = tmp_path / "figures.json"
    result = CliRunner().invoke(cli.app, ["bench", "engine", "--json", str(file)])
    assert result.exit_code == 0, result.output
    figures = {f["name"]: f for f in json.loads(file.read_text())}
    assert {
        "engine.decode_ratio",
        "engine.prefill_ratio",
        "engine.first_s",
        "engine.prefix_reread_ratio",
    } <= set(figures)
    assert all(set(f) == {"name", "value", "unit", "n", "low", "high", "simulated"} for f in figures.values())
    assert not any(f["simulated"] for f in figures.values())
    assert all(f["value"] > 0 for f in figures.values())
    assert figures["engine.prefix_reread_ratio"]["value"] <= 1.1  # tokens are counted, not timed
