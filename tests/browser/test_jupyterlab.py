"""What a learner sees: `labkit start` in a real browser. ``SCREENSHOTS=folder`` keeps the pictures."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from labkit import editions, labs

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]  # fmt: skip
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(CHROMIUM is None and "CI" not in os.environ, reason="needs Chromium or Chrome"),
]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address that ``labkit start`` prints to a learner who has solved lab 01 already."""
    lab = labs.find("lab01")
    mine = labs.work_folder() / lab.student.name
    mine.parent.mkdir(parents=True)
    nbformat.write(editions.solution(lab), mine)
    command = [sys.executable, "-m", "labkit", "start", "lab01", "--no-browser", "--port", "18888"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "JUPYTERLAB_WORKSPACES_DIR": str(tmp_path / "workspaces")},
    )
    assert process.stdout
    seen = ""
    for line in process.stdout:
        seen += line
        if found := re.search(r"http://127\.0\.0\.1:\d+/lab/tree/\S+", line):
            break
    else:
        pytest.fail(f"no address in {seen!r}")
    _wait_until_it_answers(found[0])
    yield found[0]
    process.terminate()
    assert process.wait(30) == 0
    process.stdout.close()
    with pytest.raises(OSError, match="refused"):  # and JupyterLab ended with it
        urllib.request.urlopen(found[0].partition("/lab/")[0] + "/api", timeout=2)


def _wait_until_it_answers(url: str) -> None:
    import time

    base = url.partition("/lab/")[0]
    for _ in range(240):
        try:
            with urllib.request.urlopen(f"{base}/api", timeout=2):
                return
        except OSError:
            time.sleep(0.5)
    pytest.fail("JupyterLab did not answer within two minutes")


@pytest.fixture
def page() -> Iterator[Page]:
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 1600})
        yield page
        browser.close()


def test_the_first_cell_answers_and_the_chart_appears(server: str, page: Page, tmp_path: Path) -> None:
    outside: list[str] = []
    page.on("request", lambda request: None if _inside(request.url) else outside.append(request.url))
    page.goto(server)
    notebook = page.locator(".jp-NotebookPanel:visible")
    notebook.wait_for(timeout=120_000)
    expect(page.locator(".jp-NotebookPanel h1").first).to_contain_text("First tokens", timeout=60_000)
    page.keyboard.press("Escape")
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    _wait_until_idle(page, server)
    _scroll(page, 0)
    first = notebook.locator(".jp-CodeCell").first.locator(".jp-OutputArea-output").first
    expect(first).to_contain_text(re.compile(r"\w+ \w+"))
    _screenshot(page, "lab01", tmp_path)
    chart = notebook.locator(".jp-OutputArea-output img").first
    for position in range(0, 40_000, 700):  # JupyterLab draws only the cells near the window
        _scroll(page, position)
        if chart.count():
            break
    assert chart.get_attribute("alt")
    assert chart.evaluate("image => image.naturalWidth") > 200
    chart.scroll_into_view_if_needed()
    page.wait_for_timeout(1000)
    expect(chart).to_be_in_viewport()
    _screenshot(page, "lab01-chart", tmp_path)
    assert outside == []


def _wait_until_idle(page: Page, url: str) -> None:
    """Three looks in a row find the kernel idle: between two cells it is so only for a moment."""
    api, token = url.partition("/lab/")[0], url.partition("token=")[2]
    quiet = 0
    for _ in range(200):
        page.wait_for_timeout(1000)
        kernels = page.request.get(f"{api}/api/kernels?token={token}").json()
        quiet = quiet + 1 if kernels and all(k["execution_state"] == "idle" for k in kernels) else 0
        if quiet == 3:
            return
    pytest.fail("the kernel was still busy after 200 s")


def _inside(url: str) -> bool:
    return url.startswith(("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:"))


def _scroll(page: Page, position: int) -> None:
    page.evaluate(
        "y => { document.querySelector('.jp-NotebookPanel:not(.lm-mod-hidden) .jp-WindowedPanel-outer').scrollTop = y }",
        position,
    )
    page.wait_for_timeout(150)


def _screenshot(page: Page, name: str, tmp_path: Path) -> None:
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"{name}.png")
