"""jsonschema, imported without its checker of IRIs.

That checker, where it is installed, builds a grammar when it is imported: 1.2 of the 1.7 seconds that ``import labkit.tools`` took
on a busy machine. No schema here has that format.
"""

from __future__ import annotations

import sys

CHECKER = "rfc3987_syntax"
_hidden = CHECKER not in sys.modules
if _hidden:
    sys.modules[CHECKER] = None  # type: ignore[assignment]  # Python's way to say that there is none
try:
    from jsonschema import Draft202012Validator, ValidationError, validate
    from jsonschema.exceptions import SchemaError
finally:
    if _hidden:
        del sys.modules[CHECKER]

__all__ = ["Draft202012Validator", "SchemaError", "ValidationError", "validate"]
