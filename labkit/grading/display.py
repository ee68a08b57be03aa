"""How far the grading is: done, rate, time to go, and what went wrong."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

if TYPE_CHECKING:
    from labkit.grading.autograde import Summary


class _Rate(ProgressColumn):
    """Submissions per minute."""

    def render(self, task: Task) -> Text:
        rate = 60 * task.completed / task.elapsed if task.elapsed and task.completed else 0
        return Text(f"{rate:.1f}/min")


class Display:
    """A progress bar on stderr; nothing where there is no terminal."""

    def __init__(self, quiet: bool) -> None:
        console = Console(stderr=True)
        self._task = None
        self._bar = Progress(
            TextColumn("grading"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=console,
            disable=quiet or not console.is_terminal,
        )

    def __enter__(self) -> Display:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def begin(self, total: int, summary: Summary) -> None:
        """Submissions are counted."""
        self._task = self._bar.add_task(_text(summary), total=total)

    def step(self, summary: Summary) -> None:
        """One more is done."""
        if self._task is not None:
            self._bar.update(self._task, advance=1, description=_text(summary))


def _text(summary: Summary) -> str:
    return f"refused {summary.refused}, failed {summary.failed}, tampered {summary.tampered}, kept {summary.kept}"
