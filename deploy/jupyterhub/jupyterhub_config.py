"""The hub of a class on one Linux server: ``jupyterhub -f jupyterhub_config.py``, as root, in a folder of its own. See deploy/README.md.

HUB_PASSWORD: one password for everybody, for a workshop. Without it, each account's own password (PAM), for a term.
HUB_TRIAL: names such as ``ana ben``: try the hub on your own computer, where all of them are you. Never for a class.
Every LABKIT_ variable of the hub, such as LABKIT_BACKEND, holds for all learners.
"""

import grp
import os
import shutil
import sys
from pathlib import Path

import psutil

GROUP = "learners"
"""The Unix group of the accounts that may log in. No other account can, so that nobody becomes ``root`` by typing the name."""
MEMORY_GB = 2
"""What one process of a learner may allocate, the shared model not counted; then Python says MemoryError. A lab needs about 0.8."""
IDLE_S = 2 * 60 * 60
"""After this time without activity a learner's server is stopped. Saved notebooks stay."""

c = get_config()  # noqa: F821
trial = set(os.environ.get("HUB_TRIAL", "").split())
if trial:
    print("HUB_TRIAL: everybody is the same Unix user and can read everything. Never with a class.")  # noqa: T201
    learners = trial
    c.JupyterHub.spawner_class = "simple"
    c.SimpleLocalProcessSpawner.home_dir_template = str(Path.cwd() / "homes" / "{username}")
elif os.geteuid() != 0:
    sys.exit("Start the hub as root: every learner is a Unix user. To try it out, set HUB_TRIAL='ana ben'.")
else:
    try:
        learners = set(grp.getgrnam(GROUP).gr_mem)
    except KeyError:
        sys.exit(f"There is no group {GROUP!r}. Make the accounts first: see deploy/README.md.")
    c.JupyterHub.spawner_class = "localprocess"

# Who may come in
c.Authenticator.allowed_users = learners
c.Authenticator.allow_existing_users = (
    False  # who has left the group stays out, whatever the database remembers
)
if password := os.environ.get("HUB_PASSWORD"):
    c.JupyterHub.authenticator_class = "shared-password"
    c.SharedPasswordAuthenticator.user_password = password
else:
    c.JupyterHub.authenticator_class = "pam"
c.JupyterHub.bind_url = "http://127.0.0.1:8000" if trial else "http://:8000"

# The models that all share. Root fills the folder; learners only read it.
cache = Path.cwd() / "cache"
cache.mkdir(exist_ok=True)
cache.chmod(0o755)
os.umask(0o077)  # the hub's database, and what learners write, is for their owners only

# What each learner gets. Seldom more than a quarter of a class waits for the model: these share the cores.
threads = str(max(1, 4 * (psutil.cpu_count(logical=False) or 1) // max(1, len(learners))))
c.Spawner.environment = {
    "PATH": os.pathsep.join([str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"]),
    "LABKIT_OFFLINE": "1",
    "LABKIT_CACHE": str(cache),
    "LABKIT_THREADS": threads,
    "OMP_NUM_THREADS": threads,
    **{name: value for name, value in os.environ.items() if name.startswith("LABKIT_")},
}
limit = ["prlimit", f"--data={MEMORY_GB * 2**30}", "--core=0", "--"] if shutil.which("prlimit") else []
c.Spawner.cmd = [*limit, sys.executable, str(Path(__file__).with_name("learner_server.py"))]
c.Spawner.start_timeout = c.Spawner.http_timeout = 180  # thirty people log in at once

c.JupyterHub.load_roles = [
    {
        "name": "idle-culler",
        "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
        "services": ["idle-culler"],
    }
]
c.JupyterHub.services = [
    {
        "name": "idle-culler",
        "command": [sys.executable, "-m", "jupyterhub_idle_culler", f"--timeout={IDLE_S}"],
    }
]
