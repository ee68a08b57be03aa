"""Feedback: one page for each submission, which its student may read.

A page is made of what was decided to be public: points, what the notebook's own checks said, the judge's reason in words of
its own. ``Result.detail``, which may hold a judge's input, is never read here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from labkit.errors import LabError
from labkit.grading import bundle as bundles
from labkit.grading import result
from labkit.grading.bundle import Bundle
from labkit.grading.files import clean, write_whole
from labkit.grading.marks import Mark
from labkit.grading.result import FILE, CheckResult, Result
from labkit.grading.roster import Roster, plain_id

PATHS = re.compile(r"(?:[A-Za-z]:)?(?:[\\/]+[\w.@~+-]+){2,}[\\/]?")
OUTCOMES = {True: "passed", False: "did not pass", None: "was not run"}
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
body { font: 16px/1.5 sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem; border-bottom: 1px solid #bbb; }
pre { white-space: pre-wrap; margin: .3rem 0; }
</style>
</head>
<body>
<h1>{{ title }}</h1>
<p>{{ student }}, {{ submission }}</p>
{% if reason %}
<p><strong>It could not be graded:</strong> {{ reason }}.</p>
{% else %}
<p><strong>{{ earned }} of {{ points }} points</strong>.
{%- if late %} {{ late }} were taken off because it came late.{% endif %}
{%- if open %} A person still grades questions worth {{ open }}.{% endif %}</p>
<table>
<tr><th scope="col">check</th><th scope="col">points</th><th scope="col">what was found</th></tr>
{% for row in rows %}
<tr><td>{{ row.name }}</td><td>{{ row.points }}</td><td>{{ row.found }}{% if row.message %}<pre>{{ row.message }}</pre>{% endif %}
{% if row.comment %}<pre>{{ row.comment }}</pre>{% endif %}</td></tr>
{% endfor %}
</table>
{% endif %}
{% if comments %}
<h2>Comments</h2>
<ul>{% for name, comment in comments.items() %}<li>{{ name }}: {{ comment }}</li>{% endfor %}</ul>
{% endif %}
{% if notes %}
<h2>About the notebook</h2>
<ul>{% for note in notes %}<li>{{ note }}</li>{% endfor %}</ul>
{% endif %}
<p>A check of the notebook shows whether you are on the way. Points come from hidden cases of the same exercise.</p>
</body>
</html>
"""


def write(
    results: Path, bundle_dir: Path, out: Path, marks: Iterable[Mark] = (), known: Roster | None = None
) -> list[Path]:
    """Write ``STUDENT/SUBMISSION.html`` for every result.

    Args:
        results: What ``autograde`` wrote.
        bundle_dir: The bundles that it used; only the labs' names are taken from them.
        out: Gets the pages.
        marks: What the gradebook says: a person's grades and comments, points lost for being late.
        known: The class, to find a submission's student in the gradebook.

    Raises:
        LabError: There are no results.
    """
    all_bundles, written = bundles.load_all(bundle_dir), list[Path]()
    by_key = {(mark.student.id, mark.lab): mark for mark in marks}
    for path in sorted(results.glob(f"*/*/{FILE}")):
        found = result.read(path)
        if found is None or found.status == "failed":
            continue
        person = known.find(found.student) if known else None
        mark = by_key.get((person.id if person else plain_id(found.student), found.lab))
        page = out / path.parent.parent.name / f"{path.parent.name}.html"
        write_whole(page, render(found, all_bundles.get(found.lab), mark))
        written.append(page)
    if not written:
        raise LabError(f"There are no results in {results}.", "Make them with `labkit autograde`.")
    return written


def render(found: Result, lab: Bundle | None, mark: Mark | None = None) -> str:
    """The page of one submission.

    Args:
        found: Its result.
        lab: Its bundle; without one the page has no title.
        mark: What the gradebook says of it.
    """
    scores = dict(mark.scores) if mark else {}
    comments = dict(mark.comments) if mark else {}
    rows = [_check(check, scores.get(check.check, check.earned) or 0.0) for check in found.checks]
    rows += [_written(name, points, scores.get(name)) for name, points in found.written.items()]
    for row in rows:
        row["comment"] = comments.pop(row["name"], "")
    late = mark.late if mark else 0.0
    unknown = sum(points for name, points in found.written.items() if scores.get(name) is None)
    text = _template().render(
        title=lab.manifest.name.replace("_", " ") if lab else "Feedback",
        student=found.student,
        submission=public(found.submission),
        reason=public(found.reason) if found.status == "refused" else "",
        earned=_number(max(0.0, sum(row["earned"] for row in rows) - late)),
        points=_number(found.points + sum(found.written.values()) - unknown),
        late=_number(late) if late else "",
        open=_number(unknown) if unknown else "",
        rows=rows,
        comments=comments,
        notes=[public(note) for note in found.notes],
    )
    return clean(text)


def public(text: str) -> str:
    """A text without the folders of the machine that graded: of each path the last name stays."""
    return PATHS.sub(lambda match: re.split(r"[\\/]", match[0].rstrip("\\/"))[-1], text)


def _check(check: CheckResult, earned: float) -> dict[str, Any]:
    found = "right for the hidden cases" if check.earned == check.points else check.reason or "not right yet"
    said = f"{found}; the check in your notebook {OUTCOMES[check.public]}"
    return {
        "name": check.check,
        "earned": earned,
        "points": f"{_number(earned)} of {_number(check.points)}",
        "found": public(said),
        "message": public(check.message),
    }


def _written(name: str, points: float, score: float | None) -> dict[str, Any]:
    shown = "–" if score is None else _number(score)
    said = "a person grades this" if score is None else "graded by a person"
    return {
        "name": name,
        "earned": score or 0.0,
        "points": f"{shown} of {_number(points)}",
        "found": said,
        "message": "",
    }


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


@cache
def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(PAGE)
