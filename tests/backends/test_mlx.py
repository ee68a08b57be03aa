"""MLX: what is said without it; and the conformance suite where it is installed and LABKIT_TEST_MLX names a Hugging Face directory."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import labkit
from labkit import conformance
from labkit.backends import mlx
from labkit.errors import BackendUnavailable, ModelFileError

DIRECTORY = os.environ.get("LABKIT_TEST_MLX")


def test_without_the_package_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlx, "find_spec", lambda name: None)
    with pytest.raises(BackendUnavailable, match="not installed") as caught:
        labkit.load("mlx:smollm2-135m")
    assert "pip install mlx-lm" in caught.value.hint
    assert not mlx.MlxBackend("any", labkit.config.settings()).health().ok


def test_a_model_that_was_not_converted_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(mlx, "find_spec", lambda name: object())
    with pytest.raises(ModelFileError) as caught:
        labkit.load("mlx:smollm2-135m", cache=tmp_path)
    assert "labkit models convert smollm2-135m" in caught.value.hint


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"rope_parameters": {"rope_theta": 100000.0}}, {"rope_theta": 100000.0}),
        ({"rope_theta": 5.0}, {}),
        ([], {}),
        ({"rope_parameters": None}, {}),
    ],
)
def test_the_rotary_base_is_found_where_transformers_5_writes_it(
    config: object, found: object, tmp_path: Path
) -> None:
    assert mlx._flat(tmp_path) == {}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert mlx._flat(tmp_path) == found


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not DIRECTORY, reason="LABKIT_TEST_MLX is not set")
def test_mlx_itself_conforms(tmp_path: Path) -> None:
    pytest.importorskip("mlx_lm")
    with labkit.load(f"mlx:{DIRECTORY}", context=2048) as client:
        assert not [r for r in conformance.run(client) if r.status == "failed"]
    with pytest.raises(ModelFileError):
        labkit.load(f"mlx:{tmp_path}")
