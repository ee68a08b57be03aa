"""Showing figures with their alternative text, for screen readers and for a notebook read without pictures."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from typing import Any


def show(figure: Any, alt: str) -> None:
    """Display a figure as a PNG with alt text, and close it.

    Args:
        figure: A matplotlib figure.
        alt: What the picture says, in a sentence or two.
    """
    import matplotlib.pyplot as plt
    from IPython.display import display
    from PIL import Image

    raw, png = io.BytesIO(), io.BytesIO()
    figure.savefig(raw, format="png", dpi=90, bbox_inches="tight")
    plt.close(figure)
    Image.open(raw).convert("RGB").quantize(48).save(png, format="png", optimize=True)  # a third of the size
    data = base64.b64encode(png.getvalue()).decode("ascii")
    # JupyterLab shows HTML first and gives a plain image/png no alt text; other readers take the form that they know
    image = f'<img alt="{html.escape(alt)}" style="max-width: 100%" src="data:image/png;base64,{data}">'
    display({"text/html": image, "image/png": data, "text/plain": alt}, raw=True)


def bars(
    labels: Sequence[str],
    series: Mapping[str, Sequence[float]],
    *,
    title: str,
    unit: str,
    stacked: bool = False,
) -> None:
    """Display bars, told apart by colour and by pattern; the alt text holds every value.

    Args:
        labels: The groups, from left to right.
        series: For each name one value for each group; at most four names.
        title: Above the figure.
        unit: Beside the vertical axis.
        stacked: On top of each other instead of side by side.
    """
    import matplotlib.pyplot as plt
    import numpy as np

    styles = [("#0072B2", ""), ("#E69F00", "//"), ("#009E73", ".."), ("#CC79A7", "xx")]
    width = 0.6 if stacked else 0.8 / len(series)
    places, below = np.arange(len(labels)), np.zeros(len(labels))
    figure, axes = plt.subplots(figsize=(7, 3))
    for i, ((name, row), (colour, hatch)) in enumerate(zip(series.items(), styles, strict=False)):
        shift = 0 if stacked else (i - (len(series) - 1) / 2) * width
        axes.bar(places + shift, row, width, below, color=colour, hatch=hatch, edgecolor="black", label=name)
        below = below + row if stacked else below
    axes.set_xticks(places, labels, rotation=30 if sum(map(len, labels)) > 60 else 0)
    axes.set(ylabel=unit, title=title)
    if len(series) > 1:
        axes.legend(fontsize=8)
    told = [
        f"{name}: " + ", ".join(f"{label} {value:.3g}" for label, value in zip(labels, row, strict=True))
        for name, row in series.items()
    ]
    show(figure, alt=f"{title} ({unit}). {'; '.join(told)}.")
