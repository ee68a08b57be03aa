"""``labkit doctor``: what works here, what does not, and for each problem the command that mends it."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from labkit import backends, labs, machine, models
from labkit.backends import RUNTIMES, threads
from labkit.config import DEFAULT_BACKEND, default_backend, settings
from labkit.errors import LabkitError
from labkit.messages import Capabilities

State = Literal["ok", "warn", "fail"]
OPTIONAL = {"foundry": "foundry-local-sdk", "openai": "openai"}
"""Runtimes beside the default, and the distribution that carries each."""
ENGINES = {"llamacpp": "llama-cpp-python", "openvino": "openvino-genai"}
"""Runtimes of the embedded model in this process, and the distribution that carries each."""


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report.

    Attributes:
        what: What was looked at.
        state: ``ok``; ``warn``: the labs run all the same; ``fail``: the default path is broken.
        detail: What was seen.
        mend: The command or step that mends it, in the shell of this system.
    """

    what: str
    state: State
    detail: str
    mend: str = ""


def examine() -> Iterator[Finding]:
    """Look at everything, one finding at a time. A look that fails is itself a finding."""
    for look in LOOKS:
        try:
            yield look()
        except LabkitError as error:
            yield Finding(look.__name__.strip("_"), "fail", error.message, error.hint)
    for runtime, package in OPTIONAL.items():
        found = models.version(package)
        detail = f"{package} {found}" if found else f"{package} is not installed"
        yield Finding(
            f"runtime {runtime}", "ok" if found else "warn", detail, "" if found else f"pip install {package}"
        )


def set_variable(name: str, value: str) -> str:
    """The command that sets an environment variable in the shell of this system."""
    return f'$env:{name} = "{value}"' if os.name == "nt" else f"export {name}={value}"


def _python() -> Finding:
    text = f"{platform.python_version()} at {sys.executable}"
    if sys.prefix == sys.base_prefix:
        mend = (
            r"py -m venv .venv; .venv\Scripts\activate"
            if os.name == "nt"
            else "python3 -m venv .venv && . .venv/bin/activate"
        )
        return Finding("python", "warn", f"{text}, outside a virtual environment", mend)
    return Finding("python", "ok", text)


def _grading() -> Finding:
    from labkit.grading import sandbox

    works, said = sandbox.describe()
    mend = (
        "sudo apt install bubblewrap"
        if sys.platform == "linux"
        else "grade in WSL, a Linux VM or a container"
    )
    return Finding(
        "grading", "ok" if works else "warn", said, "" if works else f"for instructors only: {mend}"
    )


def _compiler() -> Finding:
    if found := next((package for package in ENGINES.values() if models.version(package)), None):
        return Finding("compiler", "ok", f"not needed: {found} is installed")
    found = next((c for c in ("g++", "clang++", "cl") if shutil.which(c)), None)
    if found:
        return Finding("compiler", "ok", f"{found}, for building llama-cpp-python")
    mends = {
        "Windows": "install the C++ workload of Visual Studio Build Tools (see TROUBLESHOOTING.md), or requirements/no-compiler.txt",
        "Darwin": "xcode-select --install",
    }
    mend = mends.get(platform.system(), "sudo apt install g++ cmake, or use requirements/no-compiler.txt")
    return Finding("compiler", "fail", "none found, and llama-cpp-python is not installed", mend)


def _memory() -> Finding:
    here = machine.read()
    text = f"{here.free_mb / 1000:.1f} of {here.ram_mb / 1000:.1f} GB free"
    if here.free_mb < 600:
        return Finding("memory", "warn", f"{text}; a lab needs about 0.6 GB", "close other programs")
    return Finding("memory", "ok", text)


def _disk() -> Finding:
    free = shutil.disk_usage(Path(sys.prefix)).free / 10**9
    if free < 1:
        return Finding("disk", "warn", f"{free:.1f} GB free", "free some space before you pull a model")
    return Finding("disk", "ok", f"{free:.0f} GB free")


def _processor() -> Finding:
    here = machine.read()
    text = f"{here.system}, {here.cores} cores, {' '.join(here.features) or 'instructions not told by the system'}"
    if platform.machine() in ("x86_64", "AMD64") and here.features and "avx2" not in here.features:
        return Finding(
            "processor", "warn", f"{text}: no AVX2, the model will be slow", "use a newer machine if you can"
        )
    return Finding("processor", "ok", text)


def _threads() -> Finding:
    chosen = settings().threads
    idle = threads.IdleCores(chosen)
    time.sleep(threads.WINDOW_S * 1.5)
    now = idle.now()
    spin = os.environ.get("GOMP_SPINCOUNT", threads.SPIN)
    text = f"{now} of {idle.most} threads now, OpenMP spin {spin}"
    if chosen:
        return Finding("threads", "ok", f"{text}, fixed by LABKIT_THREADS")
    if now < idle.most:
        mend = f"close what keeps the processor busy; to fix the count: {set_variable('LABKIT_THREADS', str(idle.most))}"
        return Finding("threads", "warn", f"{text}: other programs hold the cores", mend)
    return Finding("threads", "ok", text)


def _settings() -> Finding:
    chosen = settings()
    known = {f"LABKIT_{name.upper()}" for name in type(chosen).model_fields}
    odd = sorted(name for name in os.environ if name.startswith("LABKIT_") and name not in known)
    if odd:
        return Finding(
            "settings",
            "warn",
            f"{', '.join(odd)} is not a setting",
            f"settings are {', '.join(sorted(known))}",
        )
    backends.create(chosen.backend, chosen)
    return Finding("settings", "ok", f"backend {chosen.backend}{', offline' if chosen.offline else ''}")


def _model() -> Finding:
    row = models.find(DEFAULT_BACKEND.partition(":")[2])
    path = models.locate(row.runtime, row.alias, settings())
    return Finding("model", "ok", f"{row.title}, {path.stat().st_size / 10**6:.0f} MB, checksum right")


def _answer() -> Finding:
    from labkit import load

    spec = default_backend()
    runtime = spec.partition(":")[0]
    began = time.perf_counter()
    with load(spec) as client:
        loaded = time.perf_counter() - began
        usage = client.complete("Hello!", max_tokens=24).usage
    package = f"{ENGINES[runtime]} {models.version(ENGINES[runtime])}"
    text = f"{package}: loaded in {loaded:.2f} s, {usage.decode_per_s:.0f} tokens/s"
    if usage.decode_per_s < 10:
        mend = "close other programs, or set LABKIT_THREADS=1"
        return Finding(f"runtime {runtime}", "warn", f"{text}: slow", mend)
    return Finding(f"runtime {runtime}", "ok", text)


def _jupyter() -> Finding:
    found = models.version("jupyterlab")
    if not found:
        return Finding("jupyter", "fail", "JupyterLab is not installed", "pip install jupyterlab")
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        spec = KernelSpecManager().get_kernel_spec("python3")
    except NoSuchKernel:
        return Finding(
            "jupyter", "fail", "there is no python3 kernel", "python -m ipykernel install --sys-prefix"
        )
    program = spec.argv[0]
    if Path(program).is_absolute() and Path(program).resolve() != Path(sys.executable).resolve():
        mend = "python -m ipykernel install --sys-prefix"
        return Finding("jupyter", "fail", f"its python3 kernel is another Python: {program}", mend)
    return Finding("jupyter", "ok", f"JupyterLab {found}")


def _port() -> Finding:
    return Finding("port", "ok", f"{free_port()} is free")


def _folders() -> Finding:
    chosen = settings()
    places = {"LABKIT_HOME": chosen.home, "LABKIT_CACHE": chosen.cache, "LABKIT_WORK": labs.work_folder()}
    shared = chosen.cache.is_dir() and not _writable(chosen.cache)
    if shared:
        del places["LABKIT_CACHE"]  # as on a hub: its models are read
    for name, place in places.items():
        if not _writable(place):
            state: State = "fail" if name == "LABKIT_WORK" else "warn"
            mend = set_variable(name, str(Path(tempfile.gettempdir()) / "labkit"))
            return Finding(
                "folders", state, f"{place} cannot be written", f"{mend}   (or another folder of yours)"
            )
    text = f"work in {places['LABKIT_WORK']}, progress in {chosen.home}"
    if shared:
        text += f"; {chosen.cache} can be read and not written: no other model can be pulled or made"
    return Finding("folders", "ok", text)


def _labs() -> Finding:
    found = labs.labs()
    if not found:
        return Finding("labs", "fail", "no lab was found", "pip install -e . in the checkout")
    text = f"{len(found)} labs: {', '.join(lab.id for lab in found)}; runtimes: {', '.join(RUNTIMES)}"
    chosen = settings()
    able = backends.create(chosen.backend, chosen).capabilities
    if able == Capabilities():  # a server shows what it can do when it is loaded
        return Finding("labs", "ok", text)
    short = [f"{lab.id} lacks {', '.join(lacks)}" for lab in found if (lacks := labs.lacking(lab, able))]
    if short:
        mend = f"choose another runtime for them: {set_variable('LABKIT_BACKEND', 'RUNTIME:MODEL')}"
        return Finding("labs", "warn", f"{text}; with {chosen.backend} {'; '.join(short)}", mend)
    return Finding("labs", "ok", text)


def free_port(first: int = 8888) -> int:
    """The first free loopback port from ``first`` on.

    Raises:
        LabkitError: None of the next hundred is free.
    """
    for port in range(first, min(first + 100, 65536)):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise LabkitError(
        f"No port from {first} to {first + 99} is free.", "Close other servers, or pass --port."
    )


def _writable(folder: Path) -> bool:
    nearest = next((p for p in (folder, *folder.parents) if p.exists()), None)
    return nearest is not None and nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


LOOKS: tuple[Callable[[], Finding], ...] = (
    _python, _compiler, _memory, _disk, _processor, _threads, _settings, _model, _answer, _jupyter, _port, _folders, _labs, _grading,
)  # fmt: skip
