"""The one reader of settings: arguments first, then ``LABKIT_*`` variables, then ``labkit.toml``, then defaults.

``labkit.toml`` is looked for in the current directory and its parents. ``LABKIT_THREADS=2`` and ``threads = 2`` in the
file mean the same.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from platformdirs import user_cache_path, user_data_path
from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from labkit.errors import ConfigError

APP = "edge-agents-lab"
DEFAULT_BACKEND = "llamacpp:smollm2-135m"
ENGINES = {"llamacpp": "llama_cpp", "openvino": "openvino_genai"}
"""Runtimes that read the embedded model in this process, in the order of preference, and the module that each needs."""
FILE_NAME = "labkit.toml"


class Settings(BaseSettings):
    """All settings of labkit.

    Attributes:
        backend: Which model answers, as ``runtime:model``; by default the embedded one, on the first engine that is installed.
        offline: Never touch the network, not even when asked to pull something.
        home: Where progress is kept.
        cache: Where pulled models and remembered checksums are kept.
        work: Where the learner's copies are; by default ``work/`` beside the labs.
        context: Context window in tokens, shared by all conversations of one engine.
        threads: Threads of the engine; 0 chooses by what is idle now.
        batch: Prompt tokens read in one step.
        gpu_layers: Model layers kept on a GPU; -1 for all. 0 is CPU only.
        mlock: Keep the model in RAM, never swapped out.
        vllm_python: The Python interpreter of the environment that has vLLM.
    """

    model_config = SettingsConfigDict(env_prefix="LABKIT_", extra="forbid", env_ignore_empty=True)

    backend: str = Field(default_factory=lambda: default_backend())
    offline: bool = False
    home: Path = Field(default_factory=lambda: user_data_path(APP))
    cache: Path = Field(default_factory=lambda: user_cache_path(APP))
    work: Path | None = None
    context: int = Field(default=4096, ge=64)
    threads: int = Field(default=0, ge=0)
    batch: int = Field(default=512, ge=1)
    gpu_layers: int = Field(default=0, ge=-1)
    mlock: bool = False
    vllm_python: Path | None = None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, find_file())


def default_backend() -> str:
    """The embedded model on the first engine that is installed. Where none is, ``DEFAULT_BACKEND``: its error says what to install."""
    installed = [runtime for runtime, module in ENGINES.items() if find_spec(module)]
    runtime, _, model = DEFAULT_BACKEND.partition(":")
    return f"{installed[0] if installed else runtime}:{model}"


def find_file() -> Path | None:
    """The ``labkit.toml`` of the current directory or its nearest parent that has one."""
    here = Path.cwd()
    return next((d / FILE_NAME for d in (here, *here.parents) if (d / FILE_NAME).is_file()), None)


def settings(**overrides: object) -> Settings:
    """Read the settings now. An override of ``None`` counts as not given.

    Raises:
        ConfigError: A value is of the wrong kind, or the file has an unknown key or is not TOML.
    """
    given = {key: value for key, value in overrides.items() if value is not None}
    try:
        return Settings(**given)  # pyright: ignore[reportArgumentType]
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
    except (SettingsError, ValueError) as error:  # ValueError: the file is not TOML
        problems = str(error)
    place = find_file()
    raise ConfigError(
        f"A setting cannot be used: {problems}.",
        f"Correct the LABKIT_* variable of that name{f' or {place}' if place else ''}."
        f" Settings are: {', '.join(Settings.model_fields)}.",
    )
