"""The hub of deploy/jupyterhub with two learners at once, started from the committed configuration.

Where the tests run as root it is the hub of a class: a mount namespace has two more accounts in its /etc/passwd, and the
machine's own stays as it is. Elsewhere it is the hub of a trial, in which both learners are the same Unix user.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx
import psutil
import pytest
from hub_learner import Learner, connect
from websocket import WebSocketBadStatusException

from labkit import labs, models
from labkit.config import settings

pytest.importorskip("jupyterhub", reason="needs the extra `hub`")

CONFIG = Path(__file__).resolve().parents[2] / "deploy" / "jupyterhub" / "jupyterhub_config.py"
PASSWORD, LAB = "blue harbour 42", "lab01_first_tokens.ipynb"
MODEL = "models.locate('llamacpp', 'smollm2-135m', settings())"
UIDS = {"ana": 61001, "ben": 61002}
PROXY = shutil.which("configurable-http-proxy") or ""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PROXY, reason="needs `npm install -g configurable-http-proxy`"),
]


@dataclass(frozen=True)
class Hub:
    """A hub that runs, and its learners, whose servers and kernels run."""

    url: str
    folder: Path
    unix_users: bool
    ana: Learner
    ben: Learner

    def copy(self, learner: Learner) -> Path:
        """A learner's own copy of lab 01."""
        return self.folder / "homes" / learner.name / "edge-agents-lab" / LAB


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    unshare = ["unshare", "--mount", "true"]
    unix_users = os.geteuid() == 0 and subprocess.run(unshare, capture_output=True).returncode == 0
    with tempfile.TemporaryDirectory(prefix="hub-") as temporary:  # pytest's own are closed to other users
        folder = Path(temporary)
        folder.chmod(0o755)
        process, url = start_hub(folder, unix_users)
        reader = threading.Thread(target=drain, args=[process.stdout])
        reader.start()
        learners = [Learner(url, name) for name in UIDS]
        try:
            assert [learner.log_in(PASSWORD) for learner in learners] == [200, 200]
            at_once([learner.start_server for learner in learners])
            at_once([lambda who=learner: who.open(LAB) for learner in learners])
            yield Hub(url, folder, unix_users, *learners)
        finally:
            for learner in learners:
                learner.close()
            family = psutil.Process(process.pid).children(recursive=True)
            process.terminate()
            process.wait(60)
            _, alive = psutil.wait_procs(family, timeout=15)
            for left in alive:
                left.kill()
            reader.join()
        assert len(family) >= 6  # the proxy, the culler, two servers, two kernels
        assert not alive


def start_hub(folder: Path, unix_users: bool) -> tuple[subprocess.Popen[str], str]:
    """Start it on free ports, and wait until it says that it runs. Its process and its address."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    url, internal, proxy = (f"http://127.0.0.1:{s.getsockname()[1]}" for s in sockets)
    for each in sockets:
        each.close()
    command = [
        sys.executable, "-m", "jupyterhub", f"--config={CONFIG}", f"--JupyterHub.bind_url={url}",
        f"--JupyterHub.hub_bind_url={internal}", f"--ConfigurableHTTPProxy.api_url={proxy}",
    ]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LABKIT_")}
    environment["HUB_PASSWORD"] = PASSWORD
    if unix_users:
        command = with_accounts(folder, command)
    else:
        environment["HUB_TRIAL"] = " ".join(UIDS)
    process = subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout
    seen = ""
    for line in process.stdout:
        seen += line
        if "JupyterHub is now running" in line:
            return process, url
    pytest.fail(seen)


def with_accounts(folder: Path, command: list[str]) -> list[str]:
    """The command in a namespace in which both learners are Unix users, and can reach the programs and the checkout.

    A folder that is closed to others, such as root's home, gets a layer above it that is open; the folder itself stays closed.
    """
    accounts = {"passwd": "", "group": f"learners:x:61000:{','.join(UIDS)}\n"}
    for name, uid in UIDS.items():
        home = folder / "homes" / name
        home.mkdir(parents=True)
        home.chmod(0o700)
        os.chown(home, uid, uid)
        accounts["passwd"] += f"{name}:x:{uid}:{uid}::{home}:/bin/bash\n"
    steps: list[str] = []
    for name, lines in accounts.items():
        (folder / name).write_text(Path("/etc", name).read_text() + lines)
        steps.append(f"mount --bind {folder}/{name} /etc/{name}")
    needed = [Path(p).resolve() for p in (sys.prefix, sys.base_prefix, PROXY, CONFIG, labs.folder())]
    folders = {d for path in needed for d in (path, *path.parents) if d.is_dir()}
    steps.append("mkdir layers; mount -t tmpfs tmpfs layers")
    opened: list[Path] = []
    for closed in sorted(d for d in folders if d.stat().st_mode & 5 != 5):
        if not any(closed.is_relative_to(above) for above in opened):
            above, work = (f"{folder}/layers/{len(opened)}/{part}" for part in ("above", "work"))
            options = f"lowerdir={closed},upperdir={above},workdir={work}"
            steps.append(f"mkdir -p {above} {work}; mount -t overlay overlay -o {options} {closed}")
            opened.append(closed)
        steps.append(f"chmod o+rx {closed}")
    return ["unshare", "--mount", "sh", "-ec", "; ".join([*steps, 'exec "$@"']), "sh", *command]


def drain(log: IO[str]) -> None:
    """Read the hub's log to its end: a full pipe would stop the hub."""
    with log:
        for _ in log:
            pass


def at_once(calls: list[Callable[[], None]]) -> None:
    """Make the calls at the same time."""
    with ThreadPoolExecutor(len(calls)) as pool:
        for done in [pool.submit(call) for call in calls]:
            done.result()


def stamp(path: Path) -> tuple[str, int]:
    """What changes when a file is written."""
    return hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns


def test_both_get_an_answer_at_the_same_time_from_one_model(hub: Hub) -> None:
    model = models.locate("llamacpp", "smollm2-135m", settings())
    before = stamp(model), stamp(labs.find("lab01").student)
    cells = [c for c in hub.ana.api("GET", f"contents/{LAB}")["content"]["cells"] if c["cell_type"] == "code"]
    for learner in (hub.ana, hub.ben):
        learner.send("\n".join(cell["source"] for cell in cells[:2]))
    for learner in (hub.ana, hub.ben):
        answer, _, counts = learner.receive().partition("finish reason:")
        assert len(answer.split()) > 5
        assert "completion tokens:" in counts
        assert learner.value(f"str({MODEL})") == str(model)
    assert before == (stamp(model), stamp(labs.find("lab01").student))


def test_each_has_a_copy_of_their_own(hub: Hub) -> None:
    for learner in (hub.ana, hub.ben):
        assert Path(learner.value("os.getcwd()")) == hub.copy(learner).parent
        assert Path(learner.value("str(settings().home)")).is_relative_to(hub.folder / "homes" / learner.name)
    untouched = stamp(hub.copy(hub.ben))
    notebook = hub.ana.api("GET", f"contents/{LAB}")["content"]
    notebook["cells"][0]["source"] = "This one is mine."
    hub.ana.api("PUT", f"contents/{LAB}", json={"type": "notebook", "content": notebook})
    assert "This one is mine." in hub.copy(hub.ana).read_text()
    assert stamp(hub.copy(hub.ben)) == untouched


def test_a_wrong_password_and_an_unknown_name_are_refused(hub: Hub) -> None:
    wrong = {"ana": "blue harbour 43", "ben": "", "root": PASSWORD, "cem": PASSWORD, "../ana": PASSWORD}
    for name, password in wrong.items():
        stranger = Learner(hub.url, name)
        assert stranger.log_in(password) == 403, name
        assert stranger.web.get("/hub/api/user").status_code == 403
        stranger.close()


def test_nobody_reaches_the_server_of_another(hub: Hub) -> None:
    ana, theirs = hub.ana, f"/user/ben/api/contents/{LAB}"
    assert ana.web.get("/user/ana/lab").status_code == 200  # with the cookies of the browser
    assert ana.web.get("/user/ben/lab").status_code == 403
    assert ana.web.get(theirs).status_code == 403
    assert httpx.get(hub.url + theirs, headers=ana.token).status_code == 403
    assert httpx.get(hub.url + theirs).status_code == 403
    assert httpx.get(f"{hub.url}/hub/api/users/ben", headers=ana.token).status_code == 404
    kernel = hub.ben.api("GET", "kernels")[0]["id"]
    with pytest.raises(WebSocketBadStatusException, match="403"):
        connect(f"{hub.ben.url}/api/kernels/{kernel}/channels", ana.token)


def test_learners_are_unix_users_who_can_only_write_what_is_theirs(hub: Hub) -> None:
    if not hub.unix_users:
        pytest.skip("in a trial everybody is the same Unix user")
    assert [learner.value("os.getuid()") for learner in (hub.ana, hub.ben)] == list(UIDS.values())
    shared = f"[labs.folder(), labs.find('lab01').student, {MODEL}, settings().cache]"
    assert hub.ana.value(f"[os.access(path, os.R_OK) for path in {shared}]") == [True] * 4
    assert hub.ana.value(f"[os.access(path, os.W_OK) for path in {shared}]") == [False] * 4
    hubs_own = [hub.folder / name for name in ("jupyterhub.sqlite", "jupyterhub_cookie_secret")]
    for private in (hub.copy(hub.ben), *hubs_own):
        assert private.is_file()
        assert hub.ana.value(f"os.access({str(private)!r}, os.R_OK)") is False


def test_a_process_that_wants_too_much_gets_a_memory_error(hub: Hub) -> None:
    hub.ana.send("try:\n    bytearray(3 * 2**30)\nexcept MemoryError:\n    print('refused')")
    assert hub.ana.receive() == "refused\n"


def test_a_terminal_finds_labkit(hub: Hub) -> None:
    name = hub.ana.api("POST", "terminals")["name"]
    terminal = connect(f"{hub.ana.url}/terminals/websocket/{name}", hub.ana.token)
    terminal.send(json.dumps(["stdin", "command -v labkit || echo no''where\r"]))
    seen = ""
    while "/labkit\r\n" not in seen and "nowhere" not in seen:
        kind, *text = json.loads(terminal.recv())
        seen += text[0] if kind == "stdout" else ""
    terminal.close()
    assert f"{sys.prefix}/bin/labkit" in seen
