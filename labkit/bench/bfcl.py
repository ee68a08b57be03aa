"""The Berkeley Function Calling Leaderboard, v4: its data out of the ``bfcl-eval`` wheel, and our check of a call.

The wheel (Apache-2.0) is downloaded without its dependencies, its hash is checked, and only JSON files and the one
module with the reference checker are read out of it. None of it is ever committed, and no test or lab needs it.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from labkit.config import Settings
from labkit.errors import ConfigError, ModelFileError, OfflineError
from labkit.messages import ToolCall

VERSION = "2026.3.23"
SHA256 = "3bb6dfa5f0c68ad403c9ec50b00db2bb3b4cc9b38ab1ff33f48fe30d853d3a0a"
CATEGORIES = ("simple_python", "multiple", "parallel", "irrelevance")
_WHEEL = f"bfcl_eval-{VERSION}-py3-none-any.whl"
_CHECKER = "bfcl_eval/eval_checker/ast_eval/ast_checker.py"


@dataclass(frozen=True)
class Case:
    """A request, the functions offered, and the calls that count as right (none for an irrelevant request).

    Attributes:
        id: Its name in the data set.
        category: One of ``CATEGORIES``.
        messages: The conversation, as role and content.
        functions: The functions, in the data set's own dialect of JSON schema.
        answers: For each expected call: ``{name: {argument: [accepted values]}}``; ``""`` means it may be left out.
    """

    id: str
    category: str
    messages: tuple[dict[str, str], ...]
    functions: tuple[dict[str, Any], ...]
    answers: tuple[dict[str, dict[str, list[Any]]], ...]


def pull(settings: Settings) -> Path:
    """Download, verify and unpack the data. Does nothing if it is there already.

    Returns:
        The folder with the data, ``cache/bfcl/VERSION``.

    Raises:
        OfflineError: The network is switched off or does not answer.
        ModelFileError: The file that came is not the one it should be.
    """
    target = settings.cache / "bfcl" / VERSION
    if (target / "done").is_file():
        return target
    if settings.offline:
        raise OfflineError(
            "BFCL must be downloaded, but LABKIT_OFFLINE is set.",
            "Unset it and run `labkit data pull bfcl` once.",
        )
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--dest",
            folder,
        ]
        result = subprocess.run(
            [*command, f"bfcl-eval=={VERSION}"], capture_output=True, text=True, check=False
        )
        wheel = Path(folder) / _WHEEL
        if result.returncode or not wheel.is_file():
            reason = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise OfflineError(
                f"pip could not download bfcl-eval {VERSION}: {reason}", "Check the network, then try again."
            )
        _unpack(wheel, target)
    return target


def _unpack(wheel: Path, target: Path) -> None:
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != SHA256:
        raise ModelFileError(
            f"{wheel.name} has the hash {found}, not {SHA256}.",
            "Do not use it; report this to the labkit project.",
        )
    target.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as archive:
        for category in CATEGORIES:
            for folder in ("", "possible_answer/"):
                name = f"bfcl_eval/data/{folder}BFCL_v4_{category}.json"
                if name in archive.namelist():
                    (target / f"{category}{'.answers' if folder else ''}.jsonl").write_bytes(
                        archive.read(name)
                    )
        (target / "ast_checker.py").write_bytes(archive.read(_CHECKER))
    (target / "done").write_text(f"bfcl-eval {VERSION}, Apache-2.0\n", encoding="utf-8")


def load(settings: Settings, category: str) -> list[Case]:
    """The cases of a category, in their order.

    Raises:
        ConfigError: The data was not pulled, or there is no such category.
    """
    folder = settings.cache / "bfcl" / VERSION
    if category not in CATEGORIES or not (folder / "done").is_file():
        raise ConfigError(
            f"BFCL {category} is not here.",
            f"Run `labkit data pull bfcl`. Categories are {', '.join(CATEGORIES)}.",
        )
    answers_file = folder / f"{category}.answers.jsonl"
    answers = {a["id"]: a["ground_truth"] for a in _lines(answers_file)} if answers_file.is_file() else {}
    return [
        Case(
            c["id"], category, tuple(c["question"][0]), tuple(c["function"]), tuple(answers.get(c["id"], ()))
        )
        for c in _lines(folder / f"{category}.jsonl")
    ]


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


# --- checking a call ---

_TYPES: dict[str, type] = {
    "string": str, "integer": int, "float": float, "number": float, "boolean": bool,
    "array": list, "tuple": list, "dict": dict, "object": dict, "any": str,
}  # fmt: skip


def check(case: Case, calls: Sequence[ToolCall]) -> str | None:
    """Compare calls with the accepted answers, as BFCL's AST checker does.

    Returns:
        None if they are right, else the kind of error: ``called`` (an irrelevant request), ``count``, ``name``, ``missing``,
        ``unexpected``, ``type``, ``value``, ``no_match`` (of parallel calls).
    """
    if not case.answers:
        return "called" if calls else None
    if len(calls) != len(case.answers):
        return "count"
    functions = {f["name"]: f for f in case.functions}
    if case.category != "parallel":
        (name,) = case.answers[0]
        return _check_call(functions[name], calls[0], case.answers[0][name])
    left = list(calls)
    for answer in case.answers:
        (name,) = answer
        match = next(
            (i for i, c in enumerate(left) if _check_call(functions[name], c, answer[name]) is None), None
        )
        if match is None:
            return "no_match"
        del left[match]
    return None


def _check_call(function: Mapping[str, Any], call: ToolCall, accepted: Mapping[str, list[Any]]) -> str | None:
    parameters: Mapping[str, Any] = function["parameters"]
    if call.name != function["name"]:
        return "name"
    if any(name not in call.arguments for name in parameters["required"]):
        return "missing"
    for name, value in call.arguments.items():
        if name not in parameters["properties"] or name not in accepted:
            return "unexpected"
        if problem := _check_value(value, parameters["properties"][name], accepted[name]):
            return problem
    return "missing" if any(n not in call.arguments and "" not in ok for n, ok in accepted.items()) else None


def _check_value(value: Any, schema: Mapping[str, Any], accepted: list[Any]) -> str | None:
    kind = _TYPES[schema["type"]]
    if kind is float and type(value) is int:
        value = float(value)
    told = next(
        (type(a) for a in accepted if a != ""), None
    )  # an answer may be a variable's name, of another type
    inner = _TYPES[schema["items"]["type"]] if schema["type"] in ("array", "tuple") else None
    if type(value) is kind:
        if inner and not any(_same_types(value, a, inner) for a in accepted):
            return "type"
    elif type(value) is not told:
        return "type"
    if type(value) is kind and told in (None, kind):
        if kind is dict:
            return _check_dict(value, accepted)
        if kind is list and inner is dict:
            fits = (
                len(value) == len(a)
                and all(_check_dict(v, [x]) is None for v, x in zip(value, a, strict=True))
                for a in accepted
            )
            return None if any(fits) else "value"
        if kind is str:
            return (
                None if standard(value) in [standard(a) for a in accepted if isinstance(a, str)] else "value"
            )
        if kind is list:
            return (
                None
                if [standard(v) for v in value] in [[standard(x) for x in a] for a in accepted]
                else "value"
            )
    return _plain_value(value, accepted)


def _plain_value(value: Any, accepted: list[Any]) -> str | None:
    return None if value in accepted else "value"


def _same_types(value: list[Any], accepted: Any, inner: type) -> bool:
    """Whether the items have the type that the schema, or else the accepted list, gives them."""
    if not isinstance(accepted, list):
        return True
    told = next((type(a) for a in accepted if a != ""), None)
    return all(type(v) is inner or type(v) is told for v in value)


def _check_dict(value: Mapping[str, Any], accepted: list[Any]) -> str | None:
    for answer in accepted:
        if answer == "":
            continue
        known = all(k in answer and standard(v) in [standard(a) for a in answer[k]] for k, v in value.items())
        if known and all(k in value or "" in ok for k, ok in answer.items()):
            return None
    return "value"


def standard(value: Any) -> Any:
    """Text without spaces and light punctuation, in lower case; anything else as it is."""
    return re.sub(r"[ ,./\-_*^]", "", value).lower().replace("'", '"') if isinstance(value, str) else value


def reference_check(settings: Settings) -> Callable[[Case, Sequence[ToolCall]], bool]:
    """The wheel's own ``ast_checker`` as a function of a case and calls. Stubs stand in for its model table.

    Raises:
        ConfigError: The data was not pulled.
    """
    path = settings.cache / "bfcl" / VERSION / "ast_checker.py"
    if not path.is_file():
        raise ConfigError("BFCL is not here.", "Run `labkit data pull bfcl`.")
    source = re.sub(r"from bfcl_eval[^(\n]*(?:\([^)]*\)|[^\n]*)", "", path.read_text(encoding="utf-8"))
    module: Any = ModuleType("bfcl_ast_checker")
    module.Language = SimpleNamespace(JAVA="java", JAVASCRIPT="javascript", PYTHON="python")
    module.MODEL_CONFIG_MAPPING = {"labkit": SimpleNamespace(underscore_to_dot=False)}
    module.JAVA_TYPE_CONVERSION = module.JS_TYPE_CONVERSION = {}
    exec(compile(source, str(path), "exec"), module.__dict__)

    def run(case: Case, calls: Sequence[ToolCall]) -> bool:
        if not case.answers:
            return not calls
        output = [{c.name: json.loads(json.dumps(dict(c.arguments)))} for c in calls]
        answer = [dict(a) for a in case.answers]
        return bool(
            module.ast_checker(list(case.functions), output, answer, "python", case.category, "labkit")[
                "valid"
            ]
        )

    return run


def agreement(settings: Settings, *, rounds: int = 3, seed: int = 0) -> list[bool]:
    """Whether our check and the reference agree: on right calls made of the answers of every case, and on spoiled ones.

    Raises:
        ConfigError: The data was not pulled.
    """
    reference, rng = reference_check(settings), random.Random(seed)
    agreed: list[bool] = []
    for category in CATEGORIES:
        for case in load(settings, category):
            for i in range(rounds):
                calls = _calls_from_answers(case, rng, spoil=i > 0)
                agreed.append((check(case, calls) is None) == reference(case, calls))
    return agreed


def _calls_from_answers(case: Case, rng: random.Random, *, spoil: bool) -> list[ToolCall]:
    calls: list[ToolCall] = []
    for answer in case.answers:
        ((name, accepted),) = answer.items()
        picked = {key: _pick(rng.choice(values), rng) for key, values in accepted.items()}
        arguments = {key: value for key, value in picked.items() if value != ""}
        if spoil:
            arguments = {key: _spoil(value, rng) for key, value in arguments.items() if rng.random() > 0.03}
        calls.append(ToolCall("other" if spoil and rng.random() < 0.03 else name, arguments))
    if spoil and rng.random() < 0.05:
        calls.pop() if calls else calls.append(ToolCall("other", {}))
    rng.shuffle(calls)
    return calls


def _pick(value: Any, rng: random.Random) -> Any:
    """One of the accepted values, inside nested answers too."""
    if isinstance(value, dict):
        return {key: _pick(rng.choice(options), rng) for key, options in value.items()}
    return [_pick(item, rng) for item in value] if isinstance(value, list) else value


def _spoil(value: Any, rng: random.Random) -> Any:
    """The value, or in four of ten cases something like it."""
    if rng.random() < 0.6:
        return value
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return rng.choice([value + 1, float(value), int(value), str(value), [value], None])
    if isinstance(value, str):
        return rng.choice([value.upper(), f"{value} x", value.replace(" ", "-"), [value], 5, "", None])
    if isinstance(value, list):
        return rng.choice([value[::-1], value + value[:1], [_spoil(item, rng) for item in value], {}, []])
    if isinstance(value, dict):
        return rng.choice([{key: _spoil(item, rng) for key, item in value.items()}, {**value, "more": 1}, {}])
    return value
