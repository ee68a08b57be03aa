"""One learner's server. The hub starts it as that learner: their own copies of the labs, then JupyterLab on lab 01."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from jupyterhub.singleuser import main

from labkit import jupyter, labs

os.environ.setdefault("LABKIT_WORK", str(Path.home() / "edge-agents-lab"))
os.environ["JUPYTER_CONFIG_PATH"] = str(Path(jupyter.__file__).parent / "jupyter_config")

copies = {lab.id: labs.open_copy(lab).path for lab in labs.labs()}
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
subprocess.Popen([sys.executable, "-c", jupyter.WARM_UP], **quiet)
sys.argv += [
    f"--ServerApp.root_dir={labs.work_folder()}",
    f"--ServerApp.default_url=/lab/tree/{copies['lab01'].name}",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    "--LabApp.extension_manager=readonly",
    # a login shell, which Jupyter would take, forgets PATH, and labkit with it
    f"--ServerApp.terminado_settings=shell_command={os.environ.get('SHELL', '/bin/sh')}",
    # a kernel's sockets are files of its owner, and not ports that all on the machine can reach
    "--KernelManager.transport=ipc",
    "--MappingKernelManager.cull_idle_timeout=3600",
    *(["--allow-root"] if os.geteuid() == 0 else []),  # a trial in a container
]
# A kernel's socket is a file here: its path may have 107 characters, and a home can be long.
with tempfile.TemporaryDirectory(prefix="jupyter-") as short:
    os.environ["JUPYTER_RUNTIME_DIR"] = short
    main()
