"""An executed submission as formgrader may show it: a browser in which the instructor is logged in must not run what is in it.

formgrader puts markdown, raw cells and outputs into its page as they are. So what a learner wrote is shown as plain text, and
outputs are made anew from text and pictures alone.
"""

from __future__ import annotations

import re
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from labkit import labs
from labkit.grading.bundle import Bundle

COURSE = "edge-agents-lab"
CONFIG = f"""c = get_config()
c.CourseDirectory.course_id = "{COURSE}"
"""
PICTURES = ("image/png", "image/jpeg")
BASE64 = re.compile(r"[A-Za-z0-9+/=\s]*")


def viewable(executed: NotebookNode, bundle: Bundle) -> NotebookNode:
    """The submission with the lab's own cells marked as the lab marks them, the learner's texts verbatim, and harmless outputs."""
    original = bundle.notebook()
    metas = {m["grade_id"]: m for cell in original.cells if (m := labs.nbgrader_meta(cell))}
    texts = {cell.source for cell in original.cells if cell.cell_type == "markdown"}
    shown = new_notebook(metadata=original.metadata)
    for cell in executed.cells:
        if cell.cell_type == "code":
            outputs = [still for output in cell.outputs if (still := _still(output))]
            copy = new_code_cell(
                cell.source, execution_count=cell.execution_count, outputs=outputs, id=cell.id
            )
        else:
            text = cell.source if cell.source in texts else verbatim(cell.source)
            copy = new_markdown_cell(text, id=cell.id)
        if meta := metas.pop(labs.nbgrader_meta(cell).get("grade_id", ""), None):
            copy.metadata["nbgrader"] = nbformat.from_dict(meta)
        shown.cells.append(copy)
    return shown


def verbatim(text: str) -> str:
    """Markdown that shows a text as it stands: a fence longer than any in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def _still(output: Any) -> NotebookNode | None:
    """An output made anew; None if nothing of it can be shown."""
    if output.output_type == "stream":
        return new_output("stream", name="stderr" if output.name == "stderr" else "stdout", text=output.text)
    if output.output_type == "error":
        return new_output("error", ename="", evalue="", traceback=list(map(str, output.traceback)))
    data = output.data
    kept = {
        kind: data[kind]
        for kind in PICTURES
        if isinstance(data.get(kind), str) and BASE64.fullmatch(data[kind])
    }
    if isinstance(plain := data.get("text/plain"), str):
        kept["text/plain"] = plain
    return new_output("display_data", kept) if kept else None
