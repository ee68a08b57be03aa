"""nbgrader's own tools on what labkit writes: generate_assignment, validate, and formgrader over HTTP on loopback."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode

from labkit.doctor import free_port
from labkit.grading import gradebook
from labkit.grading.formgrader import CONFIG
from labkit.grading.marks import read
from labkit.grading.result import CheckResult, Result
from labkit.grading.small_lab import SOLVED, bundle, notebook

LAB, NAME = "lab90", "lab90_small"
TOKEN = "a token of this test"
SCRIPT = "<script>alert('mine')</script>"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(280)]
Fetch = Callable[..., Any]


def nbgrader(course: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-m", "nbgrader", *words]
    return subprocess.run(command, cwd=course, capture_output=True, text=True, timeout=120)


def source() -> NotebookNode:
    """The lab with its solutions between nbgrader's delimiters."""
    made = notebook(*SOLVED, answer="**Question.** Why?\n\n### BEGIN SOLUTION\nBecause.\n### END SOLUTION")
    for cell in made.cells:
        if cell.source.startswith("def "):
            head, _, body = cell.source.partition("\n")
            cell.source = f"{head}\n    ### BEGIN SOLUTION\n{body}\n    ### END SOLUTION"
    return made


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course in which nbgrader made the assignment and labkit wrote the results of two students."""
    base = tmp_path_factory.mktemp("nbgrader")
    made = base / "course"
    (made / "source" / LAB).mkdir(parents=True)
    (made / "nbgrader_config.py").write_text(CONFIG)
    nbformat.write(source(), made / "source" / LAB / f"{NAME}.ipynb")
    run = nbgrader(made, "generate_assignment", LAB)
    assert run.returncode == 0, run.stderr[-2000:]
    lab = bundle(written=True)
    lab.save(base / "bundles")
    for student, earned in (("ana", (2, 3)), ("bo", (2, 0))):
        there = base / "results" / student / LAB
        checks = tuple(
            CheckResult(check=name, points=points, earned=e)
            for (name, points), e in zip(lab.manifest.points.items(), earned, strict=True)
        )
        Result(status="graded", student=student, lab=LAB, bundle=lab.digest, points=5, earned=sum(earned), checks=checks,
               written=lab.manifest.written, sha256=student).write(there / "result.json")  # fmt: skip
        handed_in = notebook(*SOLVED, f"print({student!r})", answer=f"Because {student} says so. {SCRIPT}")
        html = {"text/html": SCRIPT, "text/plain": "shown"}
        handed_in.cells[2].outputs = [nbformat.v4.new_output("display_data", html)]
        nbformat.write(handed_in, there / "executed.ipynb")
    assert gradebook.write(base / "results", base / "bundles", made).by_hand == 2
    return made


def test_its_student_version_has_no_solution(course: Path) -> None:
    released = nbformat.read(course / "release" / LAB / f"{NAME}.ipynb", as_version=4)
    text = "\n".join(cell.source for cell in released.cells)
    assert "NotImplementedError" in text
    assert "return 2 * x" not in text
    assert "lab90-double" in text


def test_its_validator_runs_the_public_checks(course: Path) -> None:
    released = course / "release" / LAB / f"{NAME}.ipynb"
    run = nbgrader(course, "validate", str(released))
    assert "VALIDATION FAILED ON 3 CELL" in run.stdout, run.stdout + run.stderr
    solved = course / "source" / LAB / f"{NAME}.ipynb"
    run = nbgrader(course, "validate", str(solved))
    assert "Success! Your notebook passes all the tests." in run.stdout, run.stdout + run.stderr


@pytest.fixture(scope="module")
def fetch(course: Path) -> Iterator[Fetch]:
    """A Jupyter server with formgrader on loopback; asks it for a page, or sends it JSON."""
    port = free_port(18888)
    base = f"http://127.0.0.1:{port}"
    options = {"ip": "127.0.0.1", "port": port, "open_browser": False, "disable_check_xsrf": True, "allow_root": True,
               "root_dir": course, "jpserver_extensions": {"nbgrader.server_extensions.formgrader": True}}  # fmt: skip
    words = [f"--ServerApp.{name}={value}" for name, value in options.items()]
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "jupyter_server",
        f"--IdentityProvider.token={TOKEN}",
        *words,
    ]
    with (course.parent / "server.log").open("wb") as log:
        server = subprocess.Popen(
            command, cwd=course, stdout=log, stderr=log, env={**os.environ, "NO_PROXY": "127.0.0.1"}
        )

    def ask(path: str, body: dict[str, Any] | None = None) -> Any:
        data = json.dumps(body).encode() if body is not None else None
        headers = {"Authorization": f"token {TOKEN}"}
        request = urllib.request.Request(base + path, data, headers, method="PUT" if data else "GET")
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
            text = answer.read().decode()
        return json.loads(text) if "/api/" in path else text

    try:
        until = time.monotonic() + 120
        while True:
            try:
                ask("/formgrader/api/status")
                break
            except (urllib.error.URLError, ConnectionError):
                assert time.monotonic() < until, (course.parent / "server.log").read_text()[-3000:]
                assert server.poll() is None, (course.parent / "server.log").read_text()[-3000:]
                time.sleep(0.2)
        yield ask
    finally:
        server.kill()
        server.wait()


def test_formgrader_lists_what_labkit_wrote(fetch: Fetch) -> None:
    found = {a["name"]: a for a in fetch("/formgrader/api/assignments")}[LAB]
    assert (found["max_score"], found["average_score"]) == (9, 3.5)
    submissions = fetch(f"/formgrader/api/submissions/{LAB}")
    assert {s["student"]: (s["score"], s["needs_manual_grade"]) for s in submissions} == {
        "ana": (5, True),
        "bo": (2, True),
    }
    assert "Manage Assignments" in fetch("/formgrader/manage_assignments")


def test_formgrader_shows_a_submission_runs_nothing_of_it_and_takes_a_grade(
    fetch: Fetch, course: Path
) -> None:
    notebooks = fetch(f"/formgrader/api/submitted_notebooks/{LAB}/{NAME}")
    assert len(notebooks) == 2
    mine = next(n for n in notebooks if n["student"] == "ana")
    page = fetch(f"/formgrader/submissions/{mine['id']}/")
    assert "Because ana says so." in page
    assert "return 2 * x" in re.sub("<[^>]+>", "", page)
    assert not re.search(r"<script[^>]*>\s*alert", page)
    grades = {g["name"]: g for g in fetch(f"/formgrader/api/grades?submission_id={mine['id']}")}
    assert {name: (g["auto_score"], g["needs_manual_grade"]) for name, g in grades.items()} == {
        "lab90-double": (2, False), "lab90-words": (3, False), "lab90-written": (None, True)
    }  # fmt: skip
    written = grades["lab90-written"]
    fetch(f"/formgrader/api/grade/{written['id']}", {**written, "manual_score": 3.5})
    gradebook.write(course.parent / "results", course.parent / "bundles", course)
    mark = next(m for m in read(course) if m.student.id == "ana")
    assert (mark.status, mark.score, mark.points) == ("graded", 8.5, 9)
    assert next(m for m in read(course) if m.student.id == "bo").status == "by hand"
