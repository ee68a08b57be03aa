"""The commands for instructors: release, grade, and what becomes of the grades. The work is done in the other modules."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()
Bundles = Annotated[Path, typer.Option(help="what `labkit release` wrote")]
Course = Annotated[Path, typer.Option(help="nbgrader's course folder, with students.csv and deadlines.toml")]
Database = Annotated[
    str, typer.Option(help="URL of SQLAlchemy in place of gradebook.db in the course folder")
]
RESULTS = Path("results")
BUNDLES = Path("release/bundles")
COURSE = Path("release/nbgrader")


@app.command()
def release(
    seed: Annotated[str, typer.Option(help="your class's secret; the judges' cases come from it")],
    out: Annotated[Path, typer.Option(help="where everything goes")] = Path("release"),
    lab: Annotated[list[str] | None, typer.Option(help="only this lab; may be repeated")] = None,
    image: Annotated[str, typer.Option("--container", help="a container image in place of bubblewrap")] = "",
    engine: Annotated[str, typer.Option(help="docker or podman")] = "docker",
    unsafe: Annotated[
        bool, typer.Option("--unsafe-no-sandbox", help="run the solutions with your rights")
    ] = False,
) -> None:
    """For instructors: prove that each lab can be graded, and write student editions, bundles and a class archive."""
    from labkit import labs
    from labkit.grading import release as releasing
    from labkit.grading.sandbox import choose

    chosen = [labs.find(name) for name in lab] if lab else None
    made = releasing.release(
        seed, out, labs=chosen, sandbox=choose(unsafe=unsafe, image=image, engine=engine), say=typer.echo
    )
    typer.echo(
        f"{len(made.bundles)} labs are in {out}. Give out {made.archive}; keep the rest and the secret."
    )


@app.command()
def autograde(
    submissions: Annotated[
        Path, typer.Argument(help="a folder of notebooks, an LMS's zip, or nbgrader's tree")
    ],
    bundles: Bundles = BUNDLES,
    out: Annotated[Path, typer.Option(help="gets STUDENT/SUBMISSION/result.json")] = RESULTS,
    workers: Annotated[int, typer.Option(help="at a time; by default one for each core")] = 0,
    seconds: Annotated[float, typer.Option(help="for one submission")] = 300,
    cell_seconds: Annotated[float, typer.Option(help="for one cell")] = 60,
    memory: Annotated[int, typer.Option(help="MB for one submission")] = 4000,
    image: Annotated[str, typer.Option("--container", help="a container image in place of bubblewrap")] = "",
    engine: Annotated[str, typer.Option(help="docker or podman")] = "docker",
    unsafe: Annotated[
        bool, typer.Option("--unsafe-no-sandbox", help="run submissions with your rights")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--everything", help="also run cells that only show something")
    ] = False,
    scheduler: Annotated[str, typer.Option(help="tcp://… of a Dask cluster, in place of this machine")] = "",
    quiet: Annotated[bool, typer.Option("--quiet", help="no progress")] = False,
) -> None:
    """For instructors: grade submissions in a sandbox. Goes on where it stopped. Exit code 1 if one could not be graded."""
    from labkit.grading import autograde as grading
    from labkit.grading.limits import Limits
    from labkit.grading.sandbox import choose

    limits = Limits(total_s=seconds, cell_s=cell_seconds, memory_mb=memory)
    sandbox = choose(limits, unsafe=unsafe, image=image, engine=engine)
    if unsafe:
        typer.echo(f"WARN  {sandbox.describe()}")
    summary = grading.autograde(
        submissions,
        bundles,
        out,
        sandbox=sandbox,
        workers=workers,
        everything=everything,
        scheduler=scheduler,
        quiet=quiet,
    )
    s = summary
    typer.echo(
        f"{s.found} submissions: {s.graded} graded now, {s.kept} kept, {s.refused} refused, {s.failed} not gradable;"
        f" {s.tampered} report tampering. {s.seconds:.0f} s. Results are in {s.out}."
    )
    raise typer.Exit(1 if s.failed else 0)


@app.command()
def gradebook(
    results: Annotated[Path, typer.Argument(help="what `labkit autograde` wrote")] = RESULTS,
    bundles: Bundles = BUNDLES,
    course: Course = COURSE,
    db: Database = "",
) -> None:
    """For instructors: write results into nbgrader's gradebook; what a person graded stays. Exit code 1 if a result was left out."""
    from labkit.grading import gradebook as book

    done = book.write(results, bundles, course, db)
    for problem in done.problems:
        typer.echo(f"note: {problem}")
    for student, lab in done.missing:
        typer.echo(f"missing: {student} {lab}")
    typer.echo(
        f"{done.submissions} submissions are in the gradebook; {done.by_hand} have questions to grade by hand, {done.late} lose"
        f" points for being late, {len(done.missing)} are missing."
    )
    raise typer.Exit(1 if done.problems else 0)


@app.command()
def feedback(
    results: Annotated[Path, typer.Argument(help="what `labkit autograde` wrote")] = RESULTS,
    out: Annotated[Path, typer.Option(help="gets STUDENT/SUBMISSION.html")] = Path("feedback"),
    bundles: Bundles = BUNDLES,
    course: Course = COURSE,
    db: Database = "",
) -> None:
    """For instructors: a page for each submission, which its student may read. With a gradebook, what a person graded too."""
    from labkit.grading import feedback as pages
    from labkit.grading import gradebook as book
    from labkit.grading import marks

    there = db or (course / "gradebook.db").is_file()
    written = pages.write(
        results, bundles, out, marks.read(course, db) if there else (), book.class_of(course)
    )
    typer.echo(
        f"{len(written)} pages are in {out}."
        + ("" if there else " There is no gradebook: points are the automatic ones.")
    )


@app.command()
def export(
    course: Annotated[Path, typer.Argument(help="nbgrader's course folder")] = COURSE,
    form: Annotated[str, typer.Option("--format", help="csv, canvas or moodle")] = "csv",
    out: Annotated[Path | None, typer.Option(help="a file; printed by default")] = None,
    db: Database = "",
) -> None:
    """For instructors: the gradebook as a table. What is missing or not graded yet is said on stderr."""
    from labkit.grading import export as exporting
    from labkit.grading import marks

    found = marks.read(course, db)
    text = exporting.export(found, form)
    if out:
        out.write_text(text, encoding="utf-8-sig" if form == "csv" else "utf-8", newline="")
    else:
        typer.echo(text, nl=False)
    for mark in found:
        if mark.status != "graded":
            what = "missing" if mark.status == "missing" else "still to be graded by hand"
            typer.echo(f"{mark.student.id} {mark.lab}: {what}", err=True)


@app.command()
def overview(
    place: Annotated[
        Path, typer.Argument(help="results, or a folder of STUDENT.json from `labkit progress --json`")
    ] = RESULTS,
    figures: Annotated[Path | None, typer.Option(help="also write three figures into this folder")] = None,
    most: Annotated[int, typer.Option(help="rows of each table")] = 15,
) -> None:
    """For instructors: how the class stands, which checks are the hardest, and who is stuck where."""
    from labkit.grading import overview as tables

    table = tables.progress(place) if any(place.glob("*.json")) else tables.checks(place)
    shares = tables.totals(table)
    for title, frame in (
        ("Share of the points", shares.describe().loc[["count", "mean", "min", "25%", "50%", "75%", "max"]]),
        ("Hardest checks", tables.hardest(table).head(most)),
        ("Who is stuck where", tables.stuck(table).head(most)),
    ):
        typer.echo(f"{title}\n{frame.round(2).to_string(index=title.startswith('Share'))}\n")
    if figures:
        figures.mkdir(parents=True, exist_ok=True)
        for name, make in (
            ("distribution", tables.distribution),
            ("hardest", tables.hardest_figure),
            ("map", tables.map_figure),
        ):
            figure, alt = make(table)
            figure.savefig(figures / f"{name}.png", dpi=100)
            (figures / f"{name}.txt").write_text(alt + "\n", encoding="utf-8")
        typer.echo(f"Figures, each with its description, are in {figures}.")


@app.command()
def wheelhouse(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="a folder; for --take also http://HOST:PORT")],
    extra: Annotated[list[str] | None, typer.Option(help="an extra of labkit; may be repeated")] = None,
    model: Annotated[list[str] | None, typer.Option(help="a pulled model's alias; may be repeated")] = None,
    baseline: Annotated[str, typer.Option(help="x86-64-v3 (AVX2), or x86-64-v2 for old processors")] = "",
    engine: Annotated[Path | None, typer.Option(help="a wheel of llama-cpp-python that is built")] = None,
    no_compiler: Annotated[
        bool, typer.Option("--no-compiler", help="OpenVINO in place of llama.cpp; nothing is compiled")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--check", help="only compare every file with its checksum")
    ] = False,
    take: Annotated[
        bool, typer.Option("--take", help="only copy its models to this machine's cache")
    ] = False,
) -> None:
    """For instructors: a folder from which a room without internet installs. Run it on each kind of system, with the same folder."""
    from labkit import wheelhouse as house
    from labkit.room.install import as_url

    if take:
        for path in house.take_models(as_url(folder)):
            typer.echo(path)
        return
    if verify:
        faults = house.check(Path(folder))
        typer.echo("\n".join(faults) if faults else f"Every file of {folder} is as it was written.")
        raise typer.Exit(1 if faults else 0)
    house.make(
        Path(folder),
        extras=extra or (),
        pulled=model or (),
        baseline=baseline,
        engine_wheel=engine,
        no_compiler=no_compiler,
        say=typer.echo,
    )
    typer.echo(f"{folder} is ready: python3 {Path(folder) / 'install.py'} installs from it.")
