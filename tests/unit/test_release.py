"""Bundles and releases: what goes out, what stays, and what is refused."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest

from labkit import editions
from labkit.errors import CheckFailed, LabError
from labkit.grading import bundle as bundles
from labkit.grading import release as releases
from labkit.grading.bundle import Bundle, load, load_all, seed_of
from labkit.grading.canary import canary, shortened
from labkit.grading.limits import Limits
from labkit.grading.prune import demonstrations
from labkit.grading.release import leaks, release
from labkit.grading.sandbox import Plain
from labkit.labs import Lab

HEADER = """# ---
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
#     lab: lab90
#     needs: []
# ---
"""
META = '"schema_version": 3, "task": false, "grade_id": "{}", "grade": {}, "solution": {}, "locked": {}'
EXERCISE = META.format("double", "false", "true", "false")
CHECK = META.format("lab90-double", "true", "false", "true") + ', "points": 2'
WRITTEN = META.format("lab90-written", "true", "true", "false") + ', "points": 1'
SOURCE = f"""{HEADER}
# %% [markdown]
# # Lab 90

# %%
from labkit import check

# %% nbgrader={{{EXERCISE}}}
def double(number):
    ### BEGIN SOLUTION
    twice_as_much = number + number
    return twice_as_much
    ### END SOLUTION


# %% nbgrader={{{CHECK}}}
with check("lab90-double", hint="Add it to itself.") as expect:
    expect.equal(double(2), 4, "two")

# %% [markdown] nbgrader={{{WRITTEN}}}
# **Question.** Why?
#
# ### BEGIN SOLUTION
# Because it is what the exercise asks for.
# ### END SOLUTION
"""
JUDGE = """from labkit.grading import grades

@grades("lab90-double")
def test_double(student, rng):
    n = int(rng.integers(100, 10**9))
    assert student.call("double", n) == 2 * n
"""
SECRET = "autumn class of 2026"
BOX = Plain(Limits(cell_s=20, total_s=60))


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    base = tmp_path / "course" / "notebooks"
    for name in ("source", "judges", "solutions", "images"):
        (base / name).mkdir(parents=True)
    made = Lab("lab90", "lab90_small", base / "lab90_small.ipynb")
    made.source.write_text(SOURCE)
    made.judge.write_text(JUDGE)
    made.solution.write_text("{}")
    (base.parent / "README.md").write_text("# Course")
    (base.parent / "labkit").mkdir()
    (base.parent / "labkit" / "__init__.py").write_text("")
    (base / "images" / "a.svg").write_text("<svg/>")
    monkeypatch.setattr(releases, "folder", lambda: base)
    return made


def made(lab: Lab) -> Bundle:
    return bundles.make(lab, editions.student(lab), SECRET)


def test_the_seed_needs_the_secret() -> None:
    seeds = {seed_of(secret, lab) for secret in (SECRET, SECRET + ".") for lab in ("lab01", "lab02")}
    assert len(seeds) == 4
    assert seed_of(SECRET, "lab01") in seeds
    assert all(0 <= seed < 2**64 for seed in seeds)


def test_a_bundle_is_the_same_from_a_zip_and_a_folder(lab: Lab, tmp_path: Path) -> None:
    bundle = made(lab)
    assert bundle.manifest.points == {"lab90-double": 2}
    assert bundle.manifest.written == {"lab90-written": 1}
    path = bundle.save(tmp_path / "bundles")
    again = made(lab).save(tmp_path / "again")
    assert path.read_bytes() == again.read_bytes()
    assert path.stat().st_mode & 0o077 == 0 or sys.platform == "win32"
    for place in (path, bundle.unpack(tmp_path / "open")):
        assert load(place) == bundle
        assert load(place).digest == bundle.digest
        assert list(load_all(place)) == ["lab90"]
    assert bundles.make(lab, editions.student(lab), "another class").digest != bundle.digest


def test_a_changed_bundle_is_refused(lab: Lab, tmp_path: Path) -> None:
    folder = made(lab).unpack(tmp_path / "open")
    (folder / "judge.py").write_text("# nothing is judged")
    with pytest.raises(LabError, match="was changed"):
        load(folder)
    (folder / "bundle.json").write_text("{}")
    with pytest.raises(LabError, match="no bundle"):
        load(folder)
    with pytest.raises(LabError, match="no bundle"):
        load(tmp_path / "nowhere.zip")
    with pytest.raises(LabError, match="no bundles"):
        load_all(tmp_path / "nowhere")


@pytest.mark.slow
def test_a_release_has_all_and_hands_out_no_solution(lab: Lab, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said: list[str] = []
    done = release(SECRET, out, labs=[lab], sandbox=BOX, say=said.append)
    assert said == ["lab90: its solution is graded"]
    assert [path.name for path in done.students] == ["lab90_small.ipynb"]
    assert load(done.bundles[0]).manifest.seed == seed_of(SECRET, "lab90")
    with zipfile.ZipFile(done.archive) as archive:
        names = sorted(archive.namelist())
        text = "\n".join(archive.read(name).decode() for name in names)
    assert names == [
        f"edge-agents-lab/{name}"
        for name in ("README.md", "labkit/__init__.py", "notebooks/images/a.svg", "notebooks/judges/README.md",
                     "notebooks/lab90_small.ipynb")
    ]  # fmt: skip
    for handed_out in (text, *(path.read_text() for path in (out / "student").glob("*.ipynb"))):
        assert "twice_as_much" not in handed_out
        assert "Because it is what" not in handed_out
        assert SECRET not in handed_out
        assert str(seed_of(SECRET, "lab90")) not in handed_out
    assert "twice_as_much" in (done.nbgrader / "source" / "lab90" / "lab90_small.ipynb").read_text()


def refused(lab: Lab, *, source: str = SOURCE, judge: str = JUDGE) -> str:
    lab.source.write_text(source)
    lab.judge.write_text(judge)
    out = lab.student.parent / "out"
    with pytest.raises(LabError) as caught:
        release(SECRET, out, labs=[lab], sandbox=BOX)
    assert not out.exists()
    return caught.value.message


def test_what_cannot_be_graded_is_refused(lab: Lab) -> None:
    cell = SOURCE[
        SOURCE.index(f"# %% nbgrader={{{CHECK}}}") : SOURCE.index(f"# %% [markdown] nbgrader={{{WRITTEN}}}")
    ]
    assert "lab90-double stands 2 times" in refused(lab, source=SOURCE.replace(cell, cell + cell))
    assert "lab90-double has no points" in refused(
        lab, source=SOURCE.replace(CHECK, CHECK.replace('"points": 2', '"points": 0'))
    )
    assert "has no points" in refused(lab, source=SOURCE.replace(f" nbgrader={{{CHECK}}}", ""))
    answer = "# %%\ndef mine(number):\n    twice_as_much = number + number\n    return twice_as_much\n\n# %% [markdown] nbgrader="
    assert "solution text" in refused(lab, source=SOURCE.replace("# %% [markdown] nbgrader=", answer))
    with pytest.raises(LabError, match="too short"):
        release("short", Path("nowhere"), labs=[lab], sandbox=BOX)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "judge", "says"),
    [
        (SOURCE.replace("number + number", "number * 3"), JUDGE, "0 of 2 points"),
        (SOURCE, JUDGE.replace("2 * n", "2 * n + 1"), "0 of 2 points"),
        (SOURCE.replace("expect.equal(double(2), 4", "expect.equal(double(2), 5"), JUDGE, "expected: 5"),
    ],
    ids=["wrong solution", "wrong judge", "wrong check"],
)
def test_a_solution_that_does_not_earn_everything_is_refused(
    lab: Lab, source: str, judge: str, says: str
) -> None:
    assert says in refused(lab, source=source, judge=judge)


def test_a_judge_of_other_checks_is_refused(lab: Lab) -> None:
    assert "disagree" in refused(lab, judge=JUDGE.replace("lab90-double", "lab90-triple"))


def test_outputs_and_markers_are_leaks(lab: Lab) -> None:
    solved, student = editions.solution(lab), editions.student(lab)
    assert leaks(solved, student) == []
    student.cells[1].outputs = [nbformat.v4.new_output("stream", text="42")]
    assert leaks(solved, student) == ["the student edition holds outputs or attachments"]
    assert "the student edition holds 'BEGIN SOLUTION'" in leaks(solved, solved)


def test_every_check_of_the_course_has_a_canary() -> None:
    from labkit import labs

    for lab in labs.labs():
        for name, cell in labs.graded(labs.read(lab.student)).items():
            if cell.cell_type == "code":
                made_wrong = canary(cell.source, "x1")
                assert made_wrong, f"{name} compares nothing that can be made wrong"
                compile(made_wrong, name, "exec")


@pytest.mark.slow
def test_nbgrader_makes_its_own_student_version_of_the_released_source(lab: Lab, tmp_path: Path) -> None:
    done = release(SECRET, tmp_path / "out", labs=[lab], sandbox=BOX)
    command = [sys.executable, "-m", "nbgrader", "generate_assignment", "lab90", "--force"]
    run = subprocess.run(command, cwd=done.nbgrader, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr[-2000:]
    text = (done.nbgrader / "release" / "lab90" / "lab90_small.ipynb").read_text()
    assert "twice_as_much" not in text
    assert "lab90-double" in text


CELLS = [
    "import math",
    "x = 2\nprint(x)",
    "big = [x]",
    "def f(n):\n    return math.sqrt(n) + k",
    "k = 1",
    "print(f(3))",
    "k += 1",
]


def left_out(cells: list[str], judge: str = "", own: list[str] | None = None) -> list[str]:
    left = demonstrations(cells, cells if own is None else own, judge)
    return [cell for place, cell in enumerate(cells) if left.rest.get(place) == ""]


def test_cells_that_nothing_needs_are_left_out() -> None:
    plain = [cell for cell in CELLS if "def f" not in cell]
    assert left_out(CELLS, own=plain) == ["x = 2\nprint(x)", "big = [x]", "print(f(3))"]
    assert left_out(CELLS, "student.value('big')", plain) == ["print(f(3))"]
    assert left_out(CELLS, "student.eval(Q)\nQ = '[len(big)]'", plain) == ["print(f(3))"]
    assert left_out([*CELLS, "print(x)"], own=plain) == ["big = [x]", "print(f(3))"]
    assert left_out(CELLS, own=[]) == []


@pytest.mark.parametrize(
    ("shown", "user"),
    [
        ("a = 1", "b = a"), ("a = 1", "a += 1"), ("a.b = 1", "print(a)"), ("a[0] = 1", "print(a)"), ("import a.b", "a.b.c()"),
        ("from z import y as a", "a()"), ("def a(): ...", "[a() for _ in []]"), ("class a: ...", "x: a = 1\ndef f(): return a"),
        ("for a in [1]: ...", "f'{a}'"), ("with open('x') as a: ...", "lambda: a"), ("if (a := 1): ...", "def f(n=a): ..."),
        ("def f():\n    global a\n    a = 1\nf()", "print(a)"), ("def f():\n    a[0] = 1\nf()", "print(a)"), ("try: ...\nexcept E as a: ...", "a"),
        ("a = 1", "exec('print(a)')"), ("a = 1", "%time a"), ("a = 1", "def f():\n    def g():\n        return a"),
        ("(a, *c), d = e", "c"), ("from a import *", "print(1)"), ("exec('a = 1')", "print(1)"), ("%matplotlib inline", "print(1)"),
        ("a = 1", "for i in [a]: a = i"), ("a = [1]", "a = [x for x in a]"), ("del a", "print(a)"), ("f(a)", "print(a)"),
        ("f([1, a.b])", "print(a)"), ("a.anything(1)", "print(a)"), ("b = a.pop()", "print(a)"), ("with b(a): ...", "print(a)"), ("await f(x=a)", "print(a)"),
        ("def f():\n    a.sort()\ndef g():\n    f()\nb = g()", "print(a)"), ("def f(): ...\na = f\na.b(a)", "print(a)"),
        ("a = b()\nprint(a.fill(1))", "print(a)"), ("a = 1", "def f(x: a): ..."), ("a = 1", "def f() -> list[a]: ..."),
        ("a = 1", "@a\ndef f(): ..."), ("import sys\nsys.path.append('x')", "1"), ("os.environ['a'] = ''", "1"), ("random.seed(0)", "1"),
        ("f = lambda: a.clear()\nb = [f() for _ in x]", "print(a)"), ("match x:\n    case [a, *b]: ...", "print(a)"),
        ("class C:\n    def __init__(self):\n        a.append(self)\nb = C()", "print(a)"), ("from __future__ import annotations", "1"),
    ],
)  # fmt: skip
def test_what_is_needed_or_cannot_be_told_is_run(shown: str, user: str) -> None:
    assert demonstrations([shown, user], [shown], "") == ({}, set())


@pytest.mark.parametrize("user", ["a = 2\nprint(a)", "for a in []: print(a)", "[a for a in []]", "def f(a): return a", "b = 'a'",
                                  "def f():\n    a = 1\n    return a", "x.a", "f(a=1)"])  # fmt: skip
def test_a_name_that_the_user_makes_itself_is_not_needed(user: str) -> None:
    assert left_out(["a = 1", user], own=["a = 1"]) == ["a = 1"]


@pytest.mark.parametrize(
    ("shown", "rest"),
    [
        ("a = 1\nprint(a)", "a = 1"), ("b = 1\na = 2; c = 3", "a = 2"), ("import heapq\na = []\nheapq.heappush(b, 1)", "a = []"),
        ("def f(x):\n    x.append(1)\n@f\ndef a(): ...\nf(c)", "def f(x):\n    x.append(1)\n@f\ndef a():\n    ..."),
        ("a = 1\nplot(len(a))", "a = 1"), ("def f():\n    global a\n    a = 1\na = 2", "a = 2"),
        ("a = []\nfor i in x:\n    a += [i]\nfor i in x:\n    print(a)", "a = []\nfor i in x:\n    a += [i]"),
    ],
)  # fmt: skip
def test_of_a_cell_those_statements_run_that_something_needs(shown: str, rest: str) -> None:
    assert demonstrations([shown, "print(a)"], [shown], "").rest == {0: rest}


def test_the_names_that_are_left_out_are_told() -> None:
    assert demonstrations(
        ["a = b = 1\nc = 2\nimport d", "print(c)"], ["a = b = 1\nc = 2\nimport d"], ""
    ).names == {"a", "b", "d"}


def test_what_the_judge_sends_along_is_not_needed() -> None:
    judge = "def test(student):\n    student.eval('f(a, b)', a=1)"
    assert left_out(["a = 1", "b = 2"], judge) == ["a = 1"]


def test_a_check_is_shortened_to_its_last_expectation() -> None:
    check = "with check('c') as expect:\n    expect.equal(a, 1)\n    for i in b:\n        expect.true(i, 'i')\n    plot(a)\n    print(a)"
    assert shortened(check).splitlines() == check.splitlines()[:-2]
    assert shortened(shortened(check)) == shortened(check)
    assert shortened("print(1)") == "print(1)"


@pytest.mark.parametrize(
    "body",
    [
        "expect.equal(value, 1, 'one')", "expect.close(value, 1.0)", "expect.true(value == 1, 'one')", "expect.true(value in (1, 2), 'in')",
        "expect.true(value > 0, 'more')", "expect.raises(ZeroDivisionError, lambda: value / 0)",
        "for other in (1, 2):\n        expect.equal(value * other, other)",
    ],
)  # fmt: skip
def test_a_canary_fails_where_its_check_passes_and_passes_where_checks_are_patched(
    body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from labkit.check import Expect, check

    source = f"with check('lab90-c') as expect:\n    {body}"
    exec(source, {"check": check, "value": 1})
    wrong = canary(source, "n0nce")
    assert wrong
    with pytest.raises(CheckFailed, match="a canary"):
        exec(wrong, {"check": check, "value": 1})
    monkeypatch.setattr(Expect, "_judge", lambda self, *_: setattr(self, "done", 1))
    if "raises" not in body:
        exec(wrong, {"check": check, "value": 1})


def test_a_canary_finds_objects_that_equal_everything() -> None:
    from labkit.check import check

    class Always:
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            return True

    for body in (
        "expect.equal(value, 1)",
        "expect.true(value == 1, 'one')",
        "expect.equal(1, 1)\n    expect.equal(value, 2)",
    ):
        wrong = canary(f"with check('lab90-c') as expect:\n    {body}", "n0nce")
        assert wrong
        exec(wrong, {"check": check, "value": Always()})
