"""GGUF files: their header, and their weights as numbers.

The format's own Python package reads the 49,152 names of the vocabulary one by one, which takes seconds; here long lists of
the header are skipped.
"""

from __future__ import annotations

import mmap
import struct
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labkit.errors import ConfigError, ModelFileError

BLOCKS: dict[str, tuple[int, int]] = {
    "F32": (1, 4), "F16": (1, 2), "BF16": (1, 2),
    "Q4_0": (32, 18), "Q4_1": (32, 20), "Q5_0": (32, 22), "Q5_1": (32, 24), "Q8_0": (32, 34), "IQ4_NL": (32, 18),
    "Q2_K": (256, 84), "Q3_K": (256, 110), "Q4_K": (256, 144), "Q5_K": (256, 176), "Q6_K": (256, 210),
    "IQ4_XS": (256, 136),
}  # fmt: skip
"""For each tensor type: weights in a block, and bytes of a block."""
_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 10: "Q2_K", 11: "Q3_K", 12: "Q4_K",
    13: "Q5_K", 14: "Q6_K", 20: "IQ4_NL", 23: "IQ4_XS", 30: "BF16",
}  # fmt: skip
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _ARRAY = 8, 9
_SHORT = 64
"""Longer lists of the header, such as the vocabulary, are skipped."""
_MOST = 1 << 24
"""More entries than this no header has."""
_AGAIN = "Download it again; for the embedded model run `labkit doctor`."


@dataclass(frozen=True)
class Tensor:
    """One array of weights in a GGUF file.

    Attributes:
        name: Such as ``blk.0.ffn_up.weight``.
        shape: Rows, then columns; a row lies in one piece and is cut into blocks.
        kind: Its type, a key of ``BLOCKS``.
        offset: Where its bytes begin in the file.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    offset: int

    @property
    def weights(self) -> int:
        """How many."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def size(self) -> int:
        """Bytes."""
        per_block, block_bytes = BLOCKS[self.kind]
        return self.weights // per_block * block_bytes


@dataclass(frozen=True)
class GGUF:
    """What stands in a GGUF file before the weights.

    Attributes:
        path: The file.
        metadata: Names and values; of a list with more than 64 entries only a text with their number.
        tensors: In the file's order.
    """

    path: Path
    metadata: dict[str, Any]
    tensors: tuple[Tensor, ...]

    @property
    def kinds(self) -> Counter[str]:
        """How many tensors of each type."""
        return Counter(tensor.kind for tensor in self.tensors)

    @property
    def bits(self) -> float:
        """Bits for each weight, on average over all tensors."""
        return 8 * sum(t.size for t in self.tensors) / sum(t.weights for t in self.tensors)

    def tensor(self, name: str) -> Tensor:
        """The tensor of that name.

        Raises:
            ConfigError: There is none.
        """
        for tensor in self.tensors:
            if tensor.name == name:
                return tensor
        raise ConfigError(
            f"{self.path.name} has no tensor {name!r}.", "Print [t.name for t in read_gguf(path).tensors]."
        )

    def raw(self, name: str) -> NDArray[np.uint8]:
        """The bytes of a tensor as they lie in the file."""
        tensor = self.tensor(name)
        return np.fromfile(self.path, dtype=np.uint8, count=tensor.size, offset=tensor.offset)

    def weights(self, name: str) -> NDArray[np.float32]:
        """A tensor as numbers, in its shape."""
        tensor = self.tensor(name)
        return dequantize(self.raw(name), tensor.kind).reshape(tensor.shape)


def read_gguf(path: Path | str) -> GGUF:
    """Read a file's header: metadata and tensors, no weights.

    Raises:
        ModelFileError: It is no GGUF file, is cut off, or has tensors of a type that is not known here.
    """
    path = Path(path)
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _parse(path, data)
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}.", "Check the path.") from error
    except (struct.error, ValueError, OverflowError) as error:
        raise ModelFileError(f"{path} is no GGUF file, or it is cut off ({error}).", _AGAIN) from error


def dequantize(raw: NDArray[np.uint8], kind: str) -> NDArray[np.float32]:
    """Bytes of a tensor as numbers, shape (weights,).

    Raises:
        ConfigError: The type is a k-quant or another one that is not unpacked here, or the bytes are no whole blocks.
    """
    if kind not in BLOCKS or kind.startswith("IQ") or kind.endswith("_K"):
        raise ConfigError(
            f"{kind} is not unpacked here.", "Choose a tensor of one of the types F32, F16, Q4_0 to Q8_0."
        )
    if raw.size % BLOCKS[kind][1]:
        raise ConfigError(
            f"{raw.size} bytes are no whole blocks of {kind}.",
            "Pass all bytes of a tensor, or of some of its blocks.",
        )
    if kind == "BF16":
        return (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)
    if kind in ("F16", "F32"):
        return raw.view("<f2" if kind == "F16" else "<f4").astype(np.float32)
    blocks = raw.reshape(-1, BLOCKS[kind][1])
    scale = _half(blocks, 0)
    if kind == "Q8_0":
        return (scale * blocks[:, 2:].view(np.int8)).ravel()
    start = 4 if kind.endswith("_1") else 2  # after the scale, and the minimum if there is one
    packed = blocks[:, -16:]
    codes = np.concatenate([packed & 15, packed >> 4], axis=1).astype(np.float32)
    if kind.startswith("Q5"):
        fifth = np.unpackbits(np.ascontiguousarray(blocks[:, start : start + 4]), axis=1, bitorder="little")
        codes += 16 * fifth
    if kind.endswith("_1"):
        return (scale * codes + _half(blocks, 2)).ravel()
    return (scale * (codes - (16 if kind == "Q5_0" else 8))).ravel()


def _parse(path: Path, data: mmap.mmap) -> GGUF:
    at = _Reader(data)
    magic, version = at.take("4sI")
    if magic != b"GGUF":
        raise ValueError("it does not begin with the four letters GGUF")
    if version not in (2, 3):
        raise ValueError(f"version {version} of the format is not known here")
    n_tensors, n_values = at.count(), at.count()
    metadata = {at.text(): at.value() for _ in range(n_values)}
    found = [
        (at.text(), [at.count(1 << 40) for _ in range(at.take("I")[0])], *at.take("IQ"))
        for _ in range(n_tensors)
    ]
    align = int(metadata.get("general.alignment", 32))
    start = -(-at.place // align) * align
    if unknown := sorted({kind for _, _, kind, _ in found} - _TYPES.keys()):
        raise ModelFileError(
            f"{path.name} has tensors of type number {', '.join(map(str, unknown))}, unknown here.",
            "Read it with the package gguf: `pip install gguf`, then `gguf-dump FILE`.",
        )
    tensors = tuple(Tensor(n, tuple(reversed(s)), _TYPES[k], start + offset) for n, s, k, offset in found)
    if (end := max((t.offset + t.size for t in tensors), default=0)) > len(data):
        raise ValueError(f"it has {len(data):,} bytes and should have {end:,}")
    return GGUF(path, metadata, tensors)


class _Reader:
    """Takes one value after the other."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self.place = 0

    def take(self, form: str) -> tuple[Any, ...]:
        values = struct.unpack_from("<" + form, self._data, self.place)
        self.place += struct.calcsize("<" + form)
        return values

    def count(self, most: int = _MOST) -> int:
        (n,) = self.take("Q")
        if n > most:
            raise ValueError(f"a count of {n} in its header")
        return n

    def text(self) -> str:
        (text,) = self.take(f"{self.count()}s")
        return text.decode("utf-8", "replace")

    def value(self, kind: int | None = None) -> Any:
        kind = self.take("I")[0] if kind is None else kind
        if kind == _TEXT:
            return self.text()
        if kind != _ARRAY:
            if kind not in _SCALARS:
                raise ValueError(f"a value of the unknown kind {kind} in its header")
            return self.take(_SCALARS[kind])[0]
        inner, n = self.take("I")[0], self.count()
        if n <= _SHORT:
            return [self.value(inner) for _ in range(n)]
        if inner in _SCALARS:
            self.place += n * struct.calcsize("<" + _SCALARS[inner])
        elif inner == _TEXT:
            for _ in range(n):
                length = self.count()
                self.place += length
        else:
            raise ValueError("a long list of lists in its header")
        return f"{n:,} values"


def _half(blocks: NDArray[np.uint8], at: int) -> NDArray[np.float32]:
    """The 16-bit float at a place of each block, shape (blocks, 1)."""
    return np.ascontiguousarray(blocks[:, at : at + 2]).view("<f2").astype(np.float32)
