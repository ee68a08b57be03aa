"""What must not be written down: secrets, declared personal data (PII), and, unless asked for, any text at all.

A redactor learns: once a value was seen in a declared field, it is masked wherever it turns up, also inside other texts.
"""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

PII = (
    *("name", "email", "mail", "phone", "telephone", "mobile", "fax", "address", "street", "postcode"),
    *("zip", "birthday", "birthdate", "date_of_birth", "iban", "passport"),
)
"""Fields that hold personal data: every key that contains one of these words."""
SECRET_FIELDS = ("password", "passwd", "secret", "token", "api_key", "authorization", "credential", "cookie")
SECRET_VARIABLES = ("_KEY", "_TOKEN", "_SECRET", "_PASSWORD")
LIMIT = 4000
"""Characters of one text that are kept."""
REMEMBERED = 5000
"""Values of PII fields that a redactor looks for in texts, the latest ones."""

_KEYS = re.compile(
    r"(?i:\bBearer\s+[\w.~+/=-]{6,})|\bBasic\s+[\w+/=-]{16,}|\b[spr]k[-_][\w-]{6,}|\b(?:hf|gh[pousr]|github_pat)_\w{6,}"
    r"|\bxox[a-z]-[\w-]+|\bA[KS]IA[A-Z0-9]{8,}|\bAIza[\w-]{20,}|\beyJ[\w-]+\.[\w-]+\.[\w-]*|(?<=://)[^\s/@]+(?=@)"
)
EMAIL = re.compile(r"(?<![\w.+%'-])[\w.+%'-]+(?:@|%40)[\w-]+(?:\.[\w-]+)+")
_PHONE = re.compile(
    r"(?<![\w.:-])(?!\d{4}-\d\d-\d\d|\d\d?[./]\d\d?[./]\d{4}\b)(?!\d+\.\d+(?![\d.]))[+(]?\d[()\s/.\u00a0\u2010-\u2013-]{0,3}"
    r"(?:\d[()\s/.\u00a0\u2010-\u2013-]{0,3}){5,16}\d(?![\w:])"
)
_MAILBOXES = ("info", "mail", "contact", "hello", "office", "sales", "service", "shop", "support", "team")
_WORD = re.compile(r"[^\W_]+")
_ID = re.compile(r"[\x21-\x7e]{0,40}")
_VALUE = r""""(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?|[^,;\n}\])]+"""


class Redactor:
    """Cleans values before they are recorded.

    Args:
        pii: Words in the names of fields whose values are masked. Secrets are masked whatever it says.
        content: Whether texts are recorded at all. Without it a string of several words becomes its length.
    """

    def __init__(self, pii: Iterable[str] = PII, *, content: bool = False) -> None:
        self.content = content
        pii = [p for p in ([pii] if isinstance(pii, str) else pii) if _joined(p)]
        self._pii = tuple(_joined(p) for p in pii)
        self._seen: dict[str, None] = {}
        self._secrets = _secrets()
        spelled = ["[-_ ]?".join(map(re.escape, re.split(r"[-_ ]", p))) for p in (*pii, *SECRET_FIELDS)]
        self._pairs = re.compile(
            rf"((?:{'|'.join(spelled)})(?!s\b|\w*Error)\w{{0,20}}[\\\"']{{0,4}}\s{{0,3}}[:=]\s{{0,3}})({_VALUE})",
            re.I,
        )

    def clean(self, value: Any, key: str = "") -> Any:
        """A copy of JSON-like data that can be recorded: fields masked, texts scrubbed or left out. Never raises."""
        try:
            self.refresh()
            value = _plain(value)
            self._learn(value, key)
            return self._masked(value, key)
        except Exception:  # whatever a caller's object does, recording must not break the run
            return "<not recorded>"

    def text(self, text: str) -> str:
        """A text without secrets, without values of PII fields seen so far, without e-mail addresses and phone numbers."""
        text = unicodedata.normalize("NFC", text).encode("utf-8", "replace").decode()
        for secret in self._secrets:
            text = text.replace(secret, "<secret>")
        text = _KEYS.sub("<secret>", text)
        if ":" in text or "=" in text:
            text = self._pairs.sub(lambda m: m[1] + ("<pii>" if self._is_pii(m[1]) else "<secret>"), text)
        lower = text.lower()
        for value in sorted((v for v in self._seen.copy() if v.lower() in lower), key=len, reverse=True):
            text = _pattern(value).sub("<pii>", text)
        text = _PHONE.sub("<pii>", EMAIL.sub("<pii>", text) if "@" in text or "%40" in text else text)
        return text if len(text) <= LIMIT + 40 else f"{text[:LIMIT]}… <{len(text)} characters>"

    def refresh(self) -> None:
        """Look for secrets in the environment again. ``clean`` does it."""
        self._secrets = _secrets()

    def again(self, text: str) -> str:
        """A text or a JSON text that was cleaned before, with what has been learnt since. Never raises."""
        try:
            value = _parsed(text)
            return self.text(value) if isinstance(value, str) else dump(self._scrubbed(value))
        except Exception:
            return "<not recorded>"

    def _scrubbed(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {self.text(str(k)): self._scrubbed(v) for k, v in value.items()}
        if isinstance(value, list):
            return [self._scrubbed(v) for v in value]
        if isinstance(value, int | float) and not isinstance(value, bool):
            return (
                "<secret>" if str(value) in self._secrets else "<pii>" if str(value) in self._seen else value
            )
        return self.text(value) if isinstance(value, str) else value

    def _masked(self, value: Any, key: str) -> Any:
        if value is None or value == "" or isinstance(value, bool):
            return value
        if self._is_pii(key):
            return "<pii>"
        if isinstance(value, str) and any(_joined(s) in _joined(key) for s in SECRET_FIELDS):
            return "<secret>"
        if isinstance(value, dict):
            return {self._masked(k, ""): self._masked(v, k) for k, v in value.items()}
        if isinstance(value, list):
            return [self._masked(v, "") for v in value]
        if isinstance(value, str) and not self.content and not _ID.fullmatch(value):
            return f"<text: {len(value)} characters>"
        return self._scrubbed(value)

    def _is_pii(self, key: str) -> bool:
        return any(p in _joined(key) for p in self._pii)

    def _learn(self, value: Any, key: str) -> None:
        if self._is_pii(key):
            self._seen.update(dict.fromkeys(filter(_telling, _values(value))))
            for old in list(self._seen)[:-REMEMBERED]:
                self._seen.pop(old, None)
        elif isinstance(value, dict):
            for k, v in value.items():
                self._learn(v, k)
        elif isinstance(value, list):
            for v in value:
                self._learn(v, "")


def dump(value: Any) -> str:
    """JSON as it is recorded."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


def _joined(key: str) -> str:
    return "".join(_WORD.findall(key)).lower()


def _plain(value: Any) -> Any:
    """Data of JSON's types; a JSON text becomes the data it holds."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    data = _parsed(value if isinstance(value, str) else str(value))
    return data if isinstance(data, str) else _plain(data)


def _parsed(text: str) -> Any:
    if text.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _values(value: Any) -> Iterator[str]:
    """Every value inside, and of a value of several words also each word."""
    if isinstance(value, dict | list):
        for v in value.values() if isinstance(value, dict) else value:
            yield from _values(v)
    elif value is not None and not isinstance(value, bool):
        text = unicodedata.normalize("NFC", str(value)).strip()
        yield text
        local = text.partition("@")[0]  # of an e-mail address; often a name
        words = (w for w in _WORD.findall(local) if w.isalpha() or len(w) > 4)
        yield from (w for w in words if local == text or w.lower() not in _MAILBOXES)


def _telling(value: str) -> bool:
    return len(value) > (2 if value.isascii() else 1) and value not in ("pii", "secret")


def _pattern(value: str) -> re.Pattern[str]:
    body = re.escape(value)
    # scripts without spaces have no word boundaries to look for
    return re.compile(rf"(?<![^\W\d_]){body}(?=s?(?![^\W\d_]))" if value.isascii() else body, re.IGNORECASE)


def _secrets() -> list[str]:
    values = {os.environ.get(name, "") for name in os.environ if name.upper().endswith(SECRET_VARIABLES)}
    return sorted((v for v in values if len(v) > 3), key=len, reverse=True)
