"""The common part of runtimes whose engine is a ``SlotEngine``: generating, masks and scores are those of ``llamacpp``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from labkit.backends.constraint import Masks
from labkit.backends.llamacpp import LlamaCppBackend
from labkit.backends.slot_engine import SlotEngine
from labkit.messages import Message


class SlotBackend(LlamaCppBackend, ABC):
    """It can do what ``LlamaCppBackend`` can; threads may share it. A runtime says its name (``runtime``) and opens the engine (``_open``)."""

    @abstractmethod
    def _open(self) -> SlotEngine:
        """Read the model."""

    def load(self) -> None:
        """Read the model, unless it is loaded.

        Raises:
            BackendUnavailable: The runtime is not installed.
            ModelFileError: The model is not here, or the runtime cannot read it.
            OfflineError: It can only be on the network, which is switched off.
        """
        if self._engine is not None:
            return
        engine = self._open()
        self._masks = Masks(engine, engine.vocab)
        self._engine = engine  # pyright: ignore[reportAttributeAccessIssue]  # it has the same methods

    @property
    def engine(self) -> Any:
        """The loaded engine, a ``SlotEngine``."""
        return super().engine

    def render(self, messages: tuple[Message, ...]) -> str:
        """The model's chat template, filled in."""
        return self.engine.render([{"role": m.role, "content": m.content} for m in messages])
