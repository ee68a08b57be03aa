"""Showing a matplotlib figure with its alternative text, for screen readers and for a notebook read without pictures."""

from __future__ import annotations

import base64
import html
import io
from typing import Any


def show(figure: Any, alt: str) -> None:
    """Display a figure as a PNG with alt text, and close it.

    Args:
        figure: A matplotlib figure.
        alt: What the picture says, in a sentence or two.
    """
    import matplotlib.pyplot as plt
    from IPython.display import display

    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=90, bbox_inches="tight")
    plt.close(figure)
    data = base64.b64encode(png.getvalue()).decode("ascii")
    # JupyterLab shows HTML first and gives a plain image/png no alt text; other readers take the form that they know
    image = f'<img alt="{html.escape(alt)}" style="max-width: 100%" src="data:image/png;base64,{data}">'
    display({"text/html": image, "image/png": data, "text/plain": alt}, raw=True)
