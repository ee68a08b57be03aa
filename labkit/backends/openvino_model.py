"""A GGUF file in OpenVINO's own format: made once by openvino-genai, mended, kept in labkit's cache, and opened for logits.

What is mended: GGUF's type Q4_1 has a scale and a minimum for each 32 weights. openvino-genai keeps the minimum as a whole number of
scales, which is far from it: for the embedded model the next-token distributions were 0.43 nats (KL divergence, mean over a text) away from
those of the same weights in 32 bits. With the minima as they stand in the file it is 0.003, as near as llama.cpp, and no slower.
"""

from __future__ import annotations

import json
import shutil
import sys
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labkit import gguf, models
from labkit.errors import BackendUnavailable, ModelFileError

MODEL = "openvino_model.xml"
CONFIG = "config.json"
"""Of a converted file it has the context only; a folder from elsewhere has Hugging Face's."""


def packages() -> tuple[Any, Any]:
    """The packages ``openvino`` and ``openvino_genai``, without telemetry.

    When ``openvino`` is imported, it reports that to Google Analytics, unless its package ``openvino_telemetry`` cannot be imported.

    Raises:
        BackendUnavailable: They are not installed.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # from now on it cannot be
    try:
        return import_module("openvino"), import_module("openvino_genai")
    except ImportError as error:
        raise BackendUnavailable(
            f"openvino-genai cannot be imported ({error}).", "Run `pip install openvino-genai`."
        ) from error


def prepare(path: Path, cache: Path) -> Path:
    """The folder of a GGUF file in OpenVINO's format; made at first use, which takes a few seconds.

    Args:
        path: The file.
        cache: The folder of such folders.

    Raises:
        ModelFileError: OpenVINO cannot read the file.
        BackendUnavailable: The cache cannot be written.
    """
    openvino, openvino_genai = packages()
    file = gguf.read_gguf(path)
    stat = path.stat()
    version = models.version("openvino-genai")
    target = cache / f"{path.stem}-{stat.st_size:x}-{stat.st_mtime_ns:x}-{version}"
    if (target / MODEL).is_file():
        return target
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=cache, prefix="part-", ignore_cleanup_errors=True) as part:
            made, copy = Path(part, "made"), Path(part, "made", "model.gguf")
            made.mkdir()
            shutil.copyfile(path, copy)  # it writes beside the file that it reads
            openvino_genai.LLMPipeline(copy, "CPU", enable_save_ov_model=True)
            copy.unlink()
            model = openvino.Core().read_model(made / MODEL)
            if mended := mend_minima(model, file):
                openvino.save_model(model, Path(part, MODEL), compress_to_fp16=False)
            del model  # it holds its files open
            for end in (".xml", ".bin") if mended else ():
                Path(part, MODEL).with_suffix(end).replace((made / MODEL).with_suffix(end))
            context = file.metadata.get(f"{file.metadata['general.architecture']}.context_length", 0)
            (made / CONFIG).write_text(json.dumps({"max_position_embeddings": context}), encoding="utf-8")
            if not target.exists():
                made.rename(target)
    except RuntimeError as error:
        raise ModelFileError(
            f"OpenVINO cannot read {path}: {last_line(error)}",
            "Its GGUF reader knows the families Llama, Qwen2 and Qwen3; use llamacpp for others.",
        ) from error
    except OSError as error:
        raise BackendUnavailable(
            f"{cache} cannot be written: {error.strerror}.", "Set LABKIT_CACHE to a folder of yours."
        ) from error
    return target


def mend_minima(model: Any, file: gguf.GGUF) -> int:
    """Give the weights of type Q4_1 the exact minima of their file, in place. Rows are found by their scales: some were reordered.

    Returns:
        How many tensors were mended.
    """
    from openvino import opset15 as ops

    minima: dict[bytes, NDArray[np.float16]] = {}
    for tensor in file.tensors:
        if tensor.kind == "Q4_1":
            blocks = file.raw(tensor.name).reshape(tensor.shape[0], -1, 20)
            head = np.ascontiguousarray(blocks[:, :, :4]).view("<f2")  # scale and minimum of each block
            minima |= {scale.tobytes(): low for scale, low in zip(head[:, :, 0], head[:, :, 1], strict=True)}
    mended = 0
    for node in model.get_ordered_ops() if minima else []:
        zero = node.input_value(1).get_node() if node.get_type_name() == "Subtract" else None
        if (
            zero is None
            or zero.get_type_name() != "Convert"
            or "uint4" not in str(zero.get_input_element_type(0))
        ):
            continue
        [user] = node.output(0).get_target_inputs()
        scales = user.get_node().input_value(1).get_node().data[:, :, 0]
        lows = [minima.get(row.tobytes()) for row in scales]
        if all(low is not None for low in lows):
            wide = scales.astype(np.float32)
            exact = np.divide(
                -np.array(lows, dtype=np.float32), wide, out=np.zeros_like(wide), where=wide != 0
            )
            node.input(1).replace_source_output(ops.constant(exact.astype(np.float16)[:, :, None]).output(0))
            mended += 1
    model.validate_nodes_and_infer_types()
    return mended


def trained_context(folder: Path) -> int:
    """The longest context that the model was trained for, in tokens; 0 where its folder does not tell."""
    try:
        found = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        return int(found.get("max_position_embeddings", 0))
    except (OSError, ValueError, AttributeError):
        return 0


def with_rows(model: Any) -> Any:
    """Give the model an input ``rows``: the positions whose logits are wanted. All of a long prompt would fill 0.2 MB each.

    Returns:
        The model, changed in place.
    """
    from openvino import opset15 as ops

    head = model.output("logits").get_node().input_value(0).get_node()
    rows = ops.parameter([-1], np.int64, name="rows")
    rows.output(0).get_tensor().set_names({"rows"})
    wanted = ops.gather(head.input(0).get_source_output(), rows, ops.constant(np.int64(1)))
    head.input(0).replace_source_output(wanted.output(0))
    model.add_parameters([rows])
    model.validate_nodes_and_infer_types()
    return model


def last_line(error: Exception) -> str:
    """What OpenVINO says at the end of its long errors."""
    return str(error).strip().splitlines()[-1].strip()
