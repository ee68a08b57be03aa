"""The command ``labkit``. Each command is a few lines here; the work is done elsewhere."""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

import labkit.jsonschemas  # noqa: F401  # pyright: ignore[reportUnusedImport]  # before nbformat imports jsonschema
from labkit.cli_grading import app as grading_app
from labkit.errors import LabkitError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Edge Agents Lab.",
)
models_app = typer.Typer(no_args_is_help=True, help="The models that the course names.")
data_app = typer.Typer(no_args_is_help=True, help="Data sets that are fetched; no lab depends on one.")
app.add_typer(models_app, name="models")
app.add_typer(data_app, name="data")
backends_app = typer.Typer(no_args_is_help=True, help="The runtimes that can answer.")
app.add_typer(backends_app, name="backends")
app.add_typer(grading_app)
console = Console(highlight=False, markup=False)
MARKS = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL"}
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def main() -> None:
    """Run the command; an error of labkit becomes two lines and exit code 2."""
    try:
        app()
    except LabkitError as error:
        print(f"labkit: {error}", file=sys.stderr)
        sys.exit(2)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Look at this machine: what works, what does not, and what mends it. Exit code 1 if the labs cannot run."""
    from labkit import doctor as doctor_module

    findings = list(doctor_module.examine()) if as_json else []
    if as_json:
        print(json.dumps([asdict(f) for f in findings], indent=2))
    else:
        for finding in doctor_module.examine():
            findings.append(finding)
            console.print(
                f"{MARKS[finding.state]}  {finding.what:<18} {finding.detail}", markup=False, soft_wrap=True
            )
            if finding.mend:
                console.print(f"      what to do: {finding.mend}", markup=False, soft_wrap=True)
    broken = [f.what for f in findings if f.state == "fail"]
    if not as_json:
        print(f"Not ready: {', '.join(broken)}." if broken else "Ready: run `labkit start`.")
    raise typer.Exit(1 if broken else 0)


@app.command()
def start(
    lab: Annotated[str, typer.Argument(help="lab01, 1, or its name")] = "lab01",
    port: Annotated[int, typer.Option(help="first port to try")] = 8888,
    browser: Annotated[bool, typer.Option(help="open a browser")] = True,
) -> None:
    """Open a lab in JupyterLab: your own copy, on this machine only."""
    from labkit import jupyter, labs

    chosen = labs.find(lab)
    copies = {each.id: labs.open_copy(each) for each in labs.labs()}
    mine = copies[chosen.id]
    for copy in copies.values():
        if copy.newer:
            print(f"{copy.path.name} has a newer edition; it lies beside yours: {copy.newer.name}")
    for line in jupyter.missing_capabilities(chosen):
        print(line)
    server = jupyter.start(mine.path, port, browser)
    print(f"\n  {chosen.name} is at\n\n    {server.url}\n")
    print("  No browser opened? Copy that address into one on this machine. Stop with Ctrl-C.\n", flush=True)
    raise typer.Exit(server.wait())


@app.command()
def reset(lab: str) -> None:
    """Make a fresh copy of a lab beside yours, which stays as it is."""
    from labkit import labs

    fresh = labs.reset(labs.find(lab))
    print(f"A fresh copy: {fresh}\nCheck it with: labkit check {lab} --notebook {fresh}")


@app.command()
def check(
    lab: Annotated[str, typer.Argument(help="lab01, 1, or its name")],
    notebook: Annotated[Path | None, typer.Option(help="another notebook than your copy")] = None,
    judge: Annotated[bool, typer.Option("--judge", help="also run the judge on hidden cases")] = False,
    seed: Annotated[int, typer.Option(help="the judge's cases")] = 0,
    seconds: Annotated[float, typer.Option(help="bound for the whole run")] = 600,
    as_json: AsJson = False,
) -> None:
    """Run your notebook in a clean kernel and print its checks, points and hints. Exit code 1 if a check fails."""
    from labkit import labs

    chosen = labs.find(lab)
    path = notebook or labs.work_folder() / chosen.student.name
    with tempfile.TemporaryDirectory() as elsewhere:
        report = labs.run_checks(
            path,
            chosen,
            judge=judge,
            seed=seed,
            cell_timeout_s=min(120, seconds),
            total_s=seconds,
            env={"LABKIT_HOME": elsewhere} if notebook else None,  # another's notebook is not your progress
        )
    failed = [
        o for o in report.outcomes if o.passed is False or (o.verdict and o.verdict.earned < o.verdict.points)
    ]
    if as_json:
        print(json.dumps({"outcomes": [asdict(o) for o in report.outcomes], "notes": report.notes}, indent=2))
        raise typer.Exit(1 if failed else 0)
    table = Table("check", "result", "points", *(["judge"] if judge else []))
    for o in report.outcomes:
        result = {None: "by hand", True: "PASS", False: "FAIL"}[o.passed]
        earned = "?" if o.passed is None else f"{o.points if o.passed else 0:g}"
        verdict = [f"{o.verdict.earned:g} of {o.verdict.points:g}" if o.verdict else ""] if judge else []
        table.add_row(o.check, result, f"{earned} of {o.points:g}", *verdict)
    console.print(table)
    for o in report.outcomes:
        if o.passed is False:
            print(f"\n{o.message}")
        if o.passed and o.verdict and o.verdict.reason:
            print(f"\n{o.check} passes here, but not before the judge: {o.verdict.reason}.")
    print()
    for note in report.notes:
        print(f"note: {note}")
    automatic = [o for o in report.outcomes if o.passed is not None]
    total = sum(o.points for o in automatic)
    earned_points = sum(o.points for o in automatic if o.passed)
    print(f"{earned_points:g} of {total:g} points from checks; written questions are graded by a person.")
    if judge:
        print(f"The judge gives {sum(o.verdict.earned for o in automatic if o.verdict):g} of {total:g}.")
    raise typer.Exit(1 if failed else 0)


@app.command()
def progress(as_json: AsJson = False) -> None:
    """Show which checks have passed on this machine."""
    from labkit import labs
    from labkit import progress as progress_module

    entries = {e.check: e for e in progress_module.entries()}
    if as_json:
        print(json.dumps([asdict(e) for e in entries.values()], indent=2))
        return
    for lab in labs.labs():
        names = [n for n, cell in labs.graded(labs.read(lab.student)).items() if cell.cell_type == "code"]
        passed = {n for n in names if n in entries and entries[n].passed}
        print(f"{lab.name}: {len(passed)} of {len(names)} checks passed")
        for name in names:
            tries = f", tries: {entries[name].tries}" if name in entries else ""
            print(f"  [{'x' if name in passed else ' '}] {name}{tries}")


@app.command()
def build(
    lab: Annotated[str | None, typer.Argument(help="one lab; all by default")] = None,
    drift: Annotated[bool, typer.Option("--drift", help="only say what no longer fits the source")] = False,
) -> None:
    """For authors: make the student and solution editions of the labs from their sources."""
    from labkit import editions

    chosen = [each for each in editions.sources() if lab is None or lab in (each.id, each.name)]
    if not chosen:
        raise LabkitError(f"There is no source of {lab!r}.", "Look in notebooks/source/.")
    problems = [p for each in chosen for p in editions.drift(each)] if drift else []
    for each in [] if drift else chosen:
        print("\n".join(f"built {path}" for path in editions.build(each)), flush=True)
    print("\n".join(problems) if problems else f"{len(chosen)} labs are up to date.")
    raise typer.Exit(1 if problems else 0)


@app.command()
def bench(
    name: Annotated[str, typer.Argument(help="engine, tools, agent, route, grade or http; or compare")],
    files: Annotated[list[Path] | None, typer.Argument(help="for compare: before and after")] = None,
    as_file: Annotated[
        Path | None, typer.Option("--json", help="also write the figures to this file")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="the long run")] = False,
    strong: Annotated[str, typer.Option(help="for route: runtime:model of the large model")] = "",
) -> None:
    """Measure; or `bench compare BEFORE AFTER`, with exit code 1 if a figure dropped significantly."""
    from labkit import bench as bench_module

    if name == "compare":
        _compare(files or [], as_file)
        return
    if files:
        raise LabkitError(f"`labkit bench {name}` takes no files.", "Write the figures with --json FILE.")
    if strong and name != "route":
        raise LabkitError(f"`labkit bench {name}` has no large model.", "Leave out --strong.")
    figures = bench_module.run(name, full=full, **({"strong": strong} if strong else {}))
    table = Table("figure", "value", "unit", "n", "low", "high")
    for f in figures:
        bounds = ["" if x is None else f"{x:.3g}" for x in (f.low, f.high)]
        table.add_row(
            f.name, f"{f.value:.3f}", f.unit + (" (simulated)" if f.simulated else ""), str(f.n), *bounds
        )
    console.print(table)
    if as_file:
        as_file.write_text(json.dumps([asdict(f) for f in figures], indent=2) + "\n", encoding="utf-8")


def _compare(files: list[Path], as_file: Path | None) -> None:
    from labkit.bench.compare import compare

    if len(files) != 2:
        raise LabkitError(f"{len(files)} files were given.", "Run `labkit bench compare BEFORE AFTER`.")
    found = compare(*files)
    for change in found.changes:
        values = f"{change.before:.3g} -> {change.after:.3g} {change.unit}"
        console.print(f"{change.word:<22} {change.name}: {values} ({change.why})", soft_wrap=True)
    for note in found.notes:
        console.print(f"note: {note}", soft_wrap=True)
    if as_file:
        as_file.write_text(json.dumps(asdict(found), indent=2) + "\n", encoding="utf-8")
    raise typer.Exit(1 if found.dropped else 0)


@data_app.command("pull")
def data_pull(
    name: Annotated[str, typer.Argument(help="bfcl: the Berkeley Function Calling Leaderboard, v4")],
) -> None:
    """Download a data set, verify its checksum, and keep it in the cache."""
    from labkit.bench import bfcl
    from labkit.config import settings

    if name != "bfcl":
        raise LabkitError(f"There is no data set {name!r}.", "Choose one of: bfcl.")
    print(bfcl.pull(settings()))


@backends_app.command("list")
def backends_list() -> None:
    """Print the runtimes' names, the part before ``:`` in ``runtime:model``."""
    from labkit.backends import RUNTIMES

    print("\n".join(RUNTIMES))


@backends_app.command("test")
def backends_test(
    spec: Annotated[str, typer.Argument(help="runtime:model[@url]")], as_json: AsJson = False
) -> None:
    """Check by its effect everything that a runtime says it can do. Exit code 1 if a check fails."""
    from labkit import conformance

    results = []
    for result in conformance.test(spec):
        results.append(result)
        if not as_json:
            line = f"{result.status:<8} {result.name:<22} {result.seconds:6.2f} s  {result.detail}"
            console.print(line, soft_wrap=True)
    if as_json:
        print(json.dumps([asdict(r) for r in results], indent=2))
    raise typer.Exit(1 if any(r.status == "failed" for r in results) else 0)


@models_app.command("list")
def models_list(as_json: AsJson = False) -> None:
    """Print the catalogue, and what is on this machine."""
    from labkit import models
    from labkit.config import settings

    chosen = settings()
    rows: list[dict[str, Any]] = [
        row.model_dump() | {"here": models.local_path(row, chosen).is_file()}
        for row in models.catalogue().values()
    ]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    table = Table("alias", "model", "tier", "file MB", "RAM MB", "licence", "here")
    for r in rows:
        table.add_row(
            r["alias"],
            r["title"],
            r["tier"],
            str(r["size_mb"]),
            str(r["ram_mb"]),
            r["licence"],
            "yes" if r["here"] else "",
        )
    console.print(table)
    print(
        "Use one with labkit.load('llamacpp:ALIAS') or LABKIT_BACKEND. Pull one with `labkit models pull ALIAS`."
    )


@models_app.command("path")
def models_path(alias: str) -> None:
    """Print where a model's verified file is."""
    from labkit import models
    from labkit.config import settings

    print(models.locate(models.find(alias).runtime, alias, settings()))


@models_app.command("pull")
def models_pull(alias: str) -> None:
    """Download a model: progress, resume, checksum. Shows its licence first."""
    from labkit import models
    from labkit.config import settings

    row = models.find(alias)
    print(
        f"{row.title}: {row.size_mb} MB, licence {row.licence}" + (f", from {row.repo}" if row.repo else "")
    )
    print(models.pull(alias, settings()))


@models_app.command("convert")
def models_convert(
    model: Annotated[str, typer.Argument(help="an alias, or a GGUF file")] = "smollm2-135m",
    precision: Annotated[str, typer.Option(help="int4, int8 or fp32")] = "int4",
    python: Annotated[str, typer.Option(help="an interpreter that has the extra `convert`")] = sys.executable,
) -> None:
    """Make a directory for ONNX Runtime GenAI and Foundry Local of a model; goes on where it stopped."""
    from labkit import convert
    from labkit.config import settings

    print(convert.convert(model, settings(), precision, python, convert.shown_on(console)))


@models_app.command("recommend")
def models_recommend(as_json: AsJson = False) -> None:
    """Read the hardware and say which model fits it, and why."""
    from labkit import machine

    here = machine.read()
    best, why = machine.recommend(here)
    if as_json:
        print(json.dumps({"model": best.alias, "why": why, "machine": asdict(here)}, indent=2))
        return
    print(f"{best.alias}: {why}")
    print(f"  labkit models pull {best.alias}" if best.repo else "  It is already in your installation.")


if __name__ == "__main__":
    main()
