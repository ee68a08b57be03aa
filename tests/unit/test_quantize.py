"""Reading GGUF files, rounding, requantizing, and comparing versions of a model."""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit import quantize
from labkit.errors import ConfigError, ModelFileError
from labkit.gguf import BLOCKS, GGUF, dequantize, read_gguf

NAME = "blk.3.attn_k.weight"


@pytest.fixture(scope="module")
def embedded() -> GGUF:
    return read_gguf(quantize.embedded())


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def in_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LABKIT_CACHE", str(cache))
    return cache


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def tiny(
    kind: int = 0, row: int = 4, weights: bytes = bytes(16), version: int = 3, values: bytes = b"", n: int = 0
) -> bytes:
    """A GGUF file with one tensor ``w`` of one row."""
    head = b"GGUF" + struct.pack("<IQQ", version, 1, n) + values
    head += text("w") + struct.pack("<IQIQ", 1, row, kind, 0)
    return head + bytes(-len(head) % 32) + weights


# --- reading ---


def test_the_embedded_model(embedded: GGUF) -> None:
    assert embedded.metadata["general.architecture"] == "llama"
    assert embedded.metadata["tokenizer.ggml.tokens"] == "49,152 values"
    assert embedded.kinds == {"Q4_1": 210, "F32": 61, "Q8_0": 1}
    assert sum(t.weights for t in embedded.tensors) == 134_515_008
    last = max(embedded.tensors, key=lambda t: t.offset)
    assert last.offset + last.size == embedded.path.stat().st_size
    assert embedded.bits == pytest.approx(5.7437, abs=1e-3)
    assert embedded.tensor(NAME).shape == (192, 576)
    with pytest.raises(ConfigError, match="no tensor 'nothing'"):
        embedded.tensor("nothing")


def test_all_kinds_of_values(tmp_path: Path) -> None:
    values = [
        (0, "<B", 200), (1, "<b", -3), (2, "<H", 60_000), (3, "<h", -300), (4, "<I", 2**32 - 1), (5, "<i", -5),
        (6, "<f", 0.5), (7, "<?", True), (10, "<Q", 2**60), (11, "<q", -(2**60)), (12, "<d", 0.1),
    ]  # fmt: skip
    data = b"".join(
        text(f"v{kind}") + struct.pack("<I", kind) + struct.pack(form, v) for kind, form, v in values
    )
    data += text("words") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("č")
    data += text("long") + struct.pack("<IIQ", 9, 8, 100) + text("abc") * 100
    data += text("many") + struct.pack("<IIQ", 9, 5, 1000) + bytes(4000)
    data += text("deep") + struct.pack("<IIQ", 9, 9, 1) + struct.pack("<IQ", 0, 2) + b"\x01\x02"
    path = tmp_path / "x.gguf"
    path.write_bytes(tiny(values=data, n=len(values) + 4))
    read = read_gguf(path)
    assert [read.metadata[f"v{kind}"] for kind, _, _ in values] == [v for _, _, v in values]
    assert read.metadata["words"] == ["a", "č"]
    assert read.metadata["long"] == "100 values"
    assert read.metadata["many"] == "1,000 values"
    assert read.metadata["deep"] == [[1, 2]]
    assert read.weights("w").tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no GGUF"),
        (b"GGUF", "no GGUF"),
        (b"PK\x03\x04" + bytes(200), "four letters"),
        (tiny(version=1), "version 1"),
        (tiny()[:-1], "should have"),
        (tiny(kind=4711), "type number 4711"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**60, 0) + bytes(99), "a count of"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 2**63) + bytes(99), "a count of"),
        (tiny(values=text("a") + struct.pack("<I", 99), n=1), "unknown kind 99"),
        (tiny(values=text("a") + struct.pack("<IIQ", 9, 9, 65), n=1), "list of lists"),
    ],
)
def test_broken_files_are_refused(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=f"(?s){says}.*What to do"):
        read_gguf(path)


@given(cut=st.integers(0, 400), at=st.integers(0, 400), byte=st.integers(0, 255))
def test_no_damage_raises_anything_else(
    tmp_path_factory: pytest.TempPathFactory, cut: int, at: int, byte: int
) -> None:
    good = tiny(values=text("a") + struct.pack("<I", 8) + text("b" * 200), n=1)
    bad = bytearray(good[: max(1, len(good) - cut)])
    bad[at % len(bad)] = byte
    path = tmp_path_factory.getbasetemp() / "damaged.gguf"
    path.write_bytes(bad)
    with suppress(ModelFileError):
        assert len(read_gguf(path).tensors) <= 1


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "no.gguf", tmp_path):
        with pytest.raises(ModelFileError, match="cannot be read"):
            read_gguf(path)


# --- numbers ---


def test_unpacking_by_hand() -> None:
    half = np.array([0.5], dtype="<f2").tobytes()
    minus = np.array([-2.0], dtype="<f2").tobytes()
    packed = bytes([0x21] + [0x00] * 14 + [0xF0])  # weight 0: 1, weight 16: 2, weight 31: 15
    fifth = struct.pack("<I", 1 | 1 << 31)
    cases: list[tuple[str, bytes, float, float, int]] = [
        ("Q4_0", half + packed, -4.0, 0.5, 0),
        ("Q4_1", half + minus + packed, -2.0, 0.5, 0),
        ("Q5_0", half + fifth + packed, -8.0, 0.5, 16),
        ("Q5_1", half + minus + fifth + packed, -2.0, 0.5, 16),
    ]
    for kind, raw, zero, scale, top in cases:
        got = dequantize(np.frombuffer(raw, dtype=np.uint8), kind)
        want = np.full(32, zero)
        want[[0, 16, 31]] += scale * np.array([1 + top, 2, 15 + top])
        assert got.tolist() == want.tolist(), kind
    eight = np.arange(-16, 16, dtype=np.int8).tobytes()
    assert (
        dequantize(np.frombuffer(half + eight, dtype=np.uint8), "Q8_0").tolist()
        == (np.arange(-16, 16) / 2).tolist()
    )
    assert dequantize(np.frombuffer(struct.pack("<2H", 0x3F80, 0xC000), dtype=np.uint8), "BF16").tolist() == [
        1,
        -2,
    ]


@pytest.mark.parametrize(("kind", "size"), [("Q4_K", 144), ("IQ4_NL", 18), ("Q9_9", 18), ("Q4_1", 21)])
def test_what_cannot_be_unpacked(kind: str, size: int) -> None:
    with pytest.raises(ConfigError, match="What to do"):
        dequantize(np.zeros(size, dtype=np.uint8), kind)


@given(
    st.integers(2, 8),
    st.sampled_from([1, 4, 32]),
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=9),
)
def test_a_restored_weight_is_half_a_step_away_at_most(bits: int, block: int, values: list[float]) -> None:
    weights = np.resize(np.array(values, dtype=np.float32), block * len(values))
    codes, scales = quantize.round_blocks(weights, bits, block)
    assert np.abs(codes).max() <= 2 ** (bits - 1) - 1
    steps = np.repeat(scales, block)
    error = np.abs(quantize.restore(codes, scales) - weights)
    assert (error <= steps * 0.5001 + np.abs(weights) * 1e-5 + 1e-30).all()


@pytest.mark.parametrize(("n", "bits", "block"), [(33, 4, 32), (32, 1, 32), (32, 9, 32), (32, 4, 0)])
def test_rounding_refuses(n: int, bits: int, block: int) -> None:
    with pytest.raises(ConfigError, match="cannot be rounded"):
        quantize.round_blocks(np.zeros(n), bits, block)


def test_divergence() -> None:
    p, q = np.log([0.5, 0.3, 0.2]), np.log([0.4, 0.3, 0.3])
    assert quantize.kl_divergence(p, q) == pytest.approx(0.0304788, abs=1e-6)
    pair = quantize.kl_divergence(np.array([p, q]), np.array([q, q + 3]))
    assert pair == pytest.approx([0.0304788, 0], abs=1e-6)
    out = np.array([0.0, -np.inf])
    assert quantize.kl_divergence(out, np.zeros(2)) == pytest.approx(np.log(2))
    assert quantize.kl_divergence(out, out) == 0
    assert quantize.kl_divergence(np.zeros(2), out) == np.inf


def test_memory_grows_with_what_is_held() -> None:
    before = quantize.resident_mb()
    held = np.ones(10_000_000)
    assert 70 < quantize.resident_mb() - before < 100
    del held
    assert quantize.resident_mb() - before < 20


def test_perplexity() -> None:
    assert quantize.perplexity(np.zeros((3, 4), dtype=np.float32), [0, 1, 2]) == pytest.approx(4)
    for logits, tokens in ((np.zeros((1, 4)), [0]), (np.zeros((3, 4)), [0, 1])):
        with pytest.raises(ConfigError, match="no perplexity"):
            quantize.perplexity(logits, tokens)


def test_choosing() -> None:
    rows: list[dict[str, Any]] = [
        {"name": "a", "file_mb": 90, "ram_mb": 120, "tokens_per_s": 30, "kl": 0.3},
        {"name": "b", "file_mb": 140, "ram_mb": 170, "tokens_per_s": 20, "kl": 0.0},
        {"name": "c", "file_mb": 130, "ram_mb": 170, "tokens_per_s": 20, "kl": 0.0},
    ]
    device = {"disk_mb": 140, "ram_mb": 170, "min_tokens_per_s": 20}
    for change, want in (({}, "c"), ({"disk_mb": 100}, "a"), ({"min_tokens_per_s": 21}, "a")):
        best = quantize.choose(rows, device | change)
        assert best is not None
        assert best["name"] == want
    assert quantize.choose(rows, device | {"ram_mb": 119}) is None
    assert quantize.choose([], device) is None


# --- requantizing ---


def test_f16_of_the_model_has_the_weights_that_are_unpacked_here(in_cache: Path, embedded: GGUF) -> None:
    """llama.cpp unpacks Q4_1 and Q8_0 itself to write F16: the two must agree."""
    made = read_gguf(quantize.requantize("F16"))
    for name in (NAME, "token_embd.weight", "output_norm.weight"):
        ours = embedded.weights(name)
        assert np.array_equal(made.weights(name), ours.astype(made_type(made, name)).astype(np.float32)), name
    made.path.unlink()


def made_type(header: GGUF, name: str) -> type:
    return np.float16 if header.tensor(name).kind == "F16" else np.float32


def test_a_requantized_file_is_made_once_and_whole(in_cache: Path, embedded: GGUF) -> None:
    path = quantize.requantize("Q4_0")
    made = read_gguf(path)
    assert made.kinds == {"Q4_0": 210, "F32": 61, "Q8_0": 1}
    assert {t.name for t in made.tensors} == {t.name for t in embedded.tensors}
    w = embedded.weights(NAME)
    assert 0.02 < np.sqrt(np.mean((made.weights(NAME) - w) ** 2) / np.mean(w**2)) < 0.2
    before = path.stat().st_mtime_ns
    assert quantize.requantize("Q4_0") == path
    assert path.stat().st_mtime_ns == before
    with path.open("r+b") as file:  # as a full disk or a power cut would leave it
        file.truncate(path.stat().st_size // 2)
    assert read_gguf(quantize.requantize("Q4_0")).bits == made.bits
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    rows = quantize.all_logits(path, [504, 3575, 282])
    assert rows.shape == (3, 49152)
    assert np.isfinite(rows).all()
    assert (quantize.kl_divergence(quantize.all_logits(embedded.path, [504, 3575, 282]), rows) > 0).all()


def test_an_unknown_recipe_names_those_that_exist(in_cache: Path) -> None:
    with pytest.raises(ConfigError, match=r"(?s)Q3_0.*Q4_K_M"):
        quantize.requantize("Q3_0")


def test_a_full_disk(in_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10**6})())
    with pytest.raises(ModelFileError, match=r"(?s)MB are free.*LABKIT_CACHE"):
        quantize.requantize("Q5_0")


def test_a_source_that_is_no_model(in_cache: Path, tmp_path: Path) -> None:
    source = tmp_path / "toy.gguf"
    source.write_bytes(tiny())
    with pytest.raises(ModelFileError, match=r"could not requantize toy.gguf"):
        quantize.requantize("Q8_0", source)
    assert not list(quantize.folder().glob("*.part"))
    with pytest.raises(ModelFileError, match=r"cannot read .*toy.gguf"):
        quantize.all_logits(source, [1])


def test_a_failure_leaves_nothing_behind(in_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(_source: Path, target: Path, _recipe: int) -> None:
        target.write_bytes(tiny())

    monkeypatch.setattr(quantize, "_run", half)
    with pytest.raises(ModelFileError, match="not complete"):
        quantize.requantize("Q5_1")
    assert not list(quantize.folder().glob("*Q5_1*"))


@pytest.mark.skipif(os.name == "nt", reason="POSIX paths")
def test_a_cache_that_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    source = quantize.embedded()
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelFileError, match="LABKIT_CACHE"):
        quantize.requantize("Q5_1", source)


def test_no_token_has_no_logits() -> None:
    with pytest.raises(ConfigError, match="no token"):
        quantize.all_logits(quantize.embedded(), [])


def test_tables_agree_with_llama_cpp() -> None:
    import llama_cpp

    for recipe, (number, _) in quantize.RECIPES.items():
        assert getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{recipe}") == number
    for kind, (weights, size) in BLOCKS.items():
        assert 2 <= 8 * size / weights <= 32, kind


@pytest.mark.parametrize(
    "kind", [k for k in BLOCKS if not k.startswith(("IQ", "BF")) and not k.endswith("_K")]
)
def test_unpacking_agrees_with_the_reference(kind: str) -> None:
    gguf = pytest.importorskip("gguf")
    raw = np.random.default_rng(5).integers(0, 60, size=BLOCKS[kind][1] * 64, dtype=np.uint8)
    theirs = gguf.quants.dequantize(raw.reshape(1, -1), getattr(gguf.GGMLQuantizationType, kind)).ravel()
    assert np.array_equal(dequantize(raw, kind), theirs)
    assert gguf.GGML_QUANT_SIZES[getattr(gguf.GGMLQuantizationType, kind)] == BLOCKS[kind]
