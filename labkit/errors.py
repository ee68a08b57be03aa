"""Every error that labkit raises. Each message says what happened; ``hint`` says what to do next.

LabkitError
├── ConfigError                a setting, spec or file that cannot be used
│   ├── UnknownRuntime         the part before ``:`` in ``runtime:model`` names no runtime
│   └── UnknownModel           the part after it names no model of that runtime
├── ModelFileError             a model file is missing, truncated or not the one it should be
├── OfflineError               this needs the network, which is switched off or does not answer
├── BackendError               a runtime failed
│   ├── BackendUnavailable     its package is not installed, or its server does not answer
│   ├── CapabilityMissing      the runtime cannot do what was asked
│   ├── ContextOverflow        the prompt is longer than the context window
│   ├── SchemaError            a JSON schema or grammar cannot be compiled
│   ├── GenerationTimeout      no complete answer within the time given
│   └── ScriptError            a ScriptedBackend got a request that its script does not have
├── ToolError                  a tool that cannot be defined or run: the programmer's fault, raises at once
│   ├── ToolDefinitionError    its hints or descriptions do not make a schema; every problem is named
│   └── ToolCallError          a model's call that fits no tool: its text goes back to the model as an observation
├── LabError                   a notebook that cannot be built, opened or checked
└── CheckFailed                a check in a lab did not pass (the learner sees a friendly form)
"""

from __future__ import annotations


class LabkitError(Exception):
    """Base of all errors of labkit.

    Args:
        message: What happened, in one sentence.
        hint: What to do next.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  What to do: {self.hint}" if self.hint else self.message


class ConfigError(LabkitError):
    """A setting, spec or file that cannot be used."""


class UnknownRuntime(ConfigError):
    """The part before ``:`` in ``runtime:model`` names no runtime."""


class UnknownModel(ConfigError):
    """The part after ``:`` in ``runtime:model`` names no model of that runtime."""


class ModelFileError(LabkitError):
    """A model file is missing, truncated or not the one it should be."""


class OfflineError(LabkitError):
    """This needs the network, which is switched off or does not answer."""


class BackendError(LabkitError):
    """A runtime failed."""


class BackendUnavailable(BackendError):
    """The runtime's package is not installed, or its server does not answer."""


class CapabilityMissing(BackendError):
    """The runtime cannot do what was asked; see ``Capabilities``."""


class ContextOverflow(BackendError):
    """The prompt is longer than the context window."""


class SchemaError(BackendError):
    """A JSON schema or grammar cannot be compiled."""


class GenerationTimeout(BackendError):
    """No complete answer within the time given. ``partial`` holds the text so far."""

    def __init__(self, message: str, hint: str = "", *, partial: str = "") -> None:
        super().__init__(message, hint)
        self.partial = partial


class ScriptError(BackendError):
    """A ScriptedBackend got a request that its script does not have."""


class ToolError(LabkitError):
    """A tool cannot be defined or run: the programmer's fault."""


class ToolDefinitionError(ToolError):
    """A tool's hints or descriptions do not make a schema; the message names every problem."""


class ToolCallError(ToolError):
    """A model's call that fits no tool. ``message`` is written for the model: it names what would be valid."""


class LabError(LabkitError):
    """A notebook that cannot be built, opened or checked."""


class CheckFailed(LabkitError):
    """A check in a lab did not pass."""

    def _render_traceback_(self) -> list[str]:
        # IPython shows this instead of a traceback: the learner's eye should fall on the reason.
        return [str(self)]
