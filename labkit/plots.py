"""Showing a matplotlib figure with its alternative text, for screen readers and for a notebook read without pictures."""

from __future__ import annotations

import io
from typing import Any


def show(figure: Any, alt: str) -> None:
    """Display a figure as a PNG with alt text, and close it.

    Args:
        figure: A matplotlib figure.
        alt: What the picture says, in a sentence or two.
    """
    import matplotlib.pyplot as plt
    from IPython.display import Image, display

    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=90, bbox_inches="tight")
    plt.close(figure)
    display(Image(png.getvalue(), alt=alt))
