"""Installs Edge Agents Lab from a wheelhouse, without internet. Python's standard library is enough.

    python3 install.py                            from the folder in which this file is
    python3 install.py http://192.168.1.10:8000   from that folder, shared by `python3 -m http.server`

`labkit wheelhouse` puts this file there. A Python that is too old for labkit (3.7 and newer) must be able to read it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any


def as_url(source: str) -> str:
    """A folder, or the address of its server, as a URL with a slash at its end."""
    url = source if source.startswith(("http://", "https://", "file:")) else Path(source).resolve().as_uri()
    return url.rstrip("/") + "/"


def read_manifest(base: str) -> dict[str, Any]:
    """What the wheelhouse says about itself."""
    with urllib.request.urlopen(base + "wheelhouse.json") as file:
        return json.loads(file.read().decode("utf-8"))


def system_tag() -> str:
    """System and Python, such as ``cp311-linux-x86_64``: what the compiled wheels depend on."""
    machine = platform.machine().lower()
    machine = {"amd64": "x86_64", "aarch64": "arm64"}.get(machine, machine)
    return f"cp{sys.version_info[0]}{sys.version_info[1]}-{platform.system().lower()}-{machine}"


def cpu_flags() -> set[str]:
    """The processor's vector instructions as Linux names them; empty where the system does not tell."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.is_file() else []
    return set(next((line for line in lines if line.lower().startswith(("flags", "features"))), "").split())


def problem(manifest: dict[str, Any], tag: str, glibc: str, flags: set[str]) -> str:
    """Why this machine cannot use the wheelhouse, and what to do; empty if it can."""
    if tag not in manifest["systems"]:
        return (
            f"This Python is {tag}, and the wheelhouse is for {', '.join(sorted(manifest['systems']))}.\n"
            "  What to do: run this file with such a Python; or make the wheelhouse for this one: run `labkit wheelhouse` with the"
            " same folder on a machine with internet, with this system and this version of Python."
        )
    made = manifest["systems"][tag]
    if [int(n) for n in glibc.split(".")] < [int(n) for n in made["glibc"].split(".")]:
        return (
            f"The C library here is glibc {glibc}, and the engine was built with {made['glibc']}.\n"
            "  What to do: make the wheelhouse on the oldest Linux of the room."
        )
    lacking = [flag for flag in made["cpu"] if flags and flag not in flags]
    if lacking:
        return (
            f"The processor lacks {', '.join(lacking)}; the engine was built for {made['baseline']}.\n"
            "  What to do: make another wheelhouse with `labkit wheelhouse DIR --baseline x86-64-v2`."
        )
    return ""


def fetch(url: str, target: Path, sha256: str) -> None:
    """Copy a file from a folder or a server, and compare its checksum."""
    digest = hashlib.sha256()
    with urllib.request.urlopen(url) as source, target.open("wb") as file:
        for block in iter(lambda: source.read(1 << 20), b""):
            digest.update(block)
            file.write(block)
    if digest.hexdigest() != sha256:
        raise ValueError(f"{url} is damaged; copy the wheelhouse again")


def install(base: str, venv: Path) -> int:
    """Make the environment, install, take the models, and let the doctor look. The doctor's exit code."""
    manifest, tag = read_manifest(base), system_tag()
    reason = problem(manifest, tag, platform.libc_ver()[1] or "0", cpu_flags())
    if reason:
        raise SystemExit(reason)
    made = manifest["systems"][tag]
    if venv.exists() and not (venv / "pyvenv.cfg").is_file():
        raise SystemExit(
            f"{venv} exists and is no virtual environment.\n  What to do: name another with --venv."
        )
    # pip comes from the wheelhouse too: on some systems Python has none
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    windows = os.name == "nt"
    python = str(venv / ("Scripts/python.exe" if windows else "bin/python"))
    with tempfile.TemporaryDirectory() as folder:
        pip, requirements = Path(folder) / Path(made["pip"]).name, Path(folder) / "requirements.txt"
        fetch(base + made["pip"], pip, made["files"][made["pip"]]["sha256"])
        fetch(base + f"{tag}.txt", requirements, made["files"][f"{tag}.txt"]["sha256"])
        command = [
            python,
            f"{pip}/pip",
            "--isolated",
            "install",
            "--quiet",
            "--no-index",
            "--no-deps",
            "--require-hashes",
        ]
        host = urllib.parse.urlsplit(base).hostname
        command += ["--trusted-host", host] if host else []
        subprocess.run(
            [*command, "--no-cache-dir", "--find-links", base + "wheels/", "-r", str(requirements)],
            check=True,
        )
    if manifest["models"]:
        subprocess.run([python, "-m", "labkit", "wheelhouse", base, "--take"], check=True)
    code = subprocess.run([python, "-m", "labkit", "doctor"]).returncode
    labkit = venv / ("Scripts/labkit.exe" if windows else "bin/labkit")
    sys.stdout.write(f"\nInstalled. Open the first lab with:\n\n    {labkit} start\n")
    return code


def main() -> None:
    """Read the arguments and install."""
    parser = argparse.ArgumentParser(description="Install Edge Agents Lab without internet.")
    parser.add_argument("source", nargs="?", help="a wheelhouse: a folder, or http://HOST:PORT")
    parser.add_argument("--venv", default="edge-agents-lab-env", help="the virtual environment to make")
    given = parser.parse_args()
    base = as_url(given.source or str(Path(__file__).parent))
    try:
        code = install(base, Path(given.venv).resolve())
    except subprocess.CalledProcessError as error:
        raise SystemExit(
            f"The installation stopped at `{' '.join(error.cmd[:4])}`; its message is above.\n"
            "  What to do: if it speaks of hashes, a file of the wheelhouse is damaged: copy the wheelhouse again."
        ) from None
    except (OSError, ValueError, KeyError) as error:
        raise SystemExit(f"The wheelhouse at {base} cannot be used: {error}") from None
    raise SystemExit(code)


if __name__ == "__main__":
    main()
