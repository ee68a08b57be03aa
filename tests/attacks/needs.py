"""What the attacks need of this machine."""

from __future__ import annotations

import pytest

from labkit.grading.sandbox import Bubblewrap

PROBLEM = Bubblewrap().problem()
needs_sandbox = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(bool(PROBLEM), reason=f"no bubblewrap: {PROBLEM}"),
]
