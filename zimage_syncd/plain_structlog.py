"""structlog without rich, which it would import for coloured tracebacks: a tenth of the daemon's start and 4 MiB.

`from zimage_syncd.plain_structlog import structlog`. Whoever imports rich by itself later gets it.
"""

from __future__ import annotations

import sys

_is_there = "rich" in sys.modules
if not _is_there:
    sys.modules["rich"] = None  # type: ignore[assignment]  # importlib: there is none
try:
    import structlog
finally:
    if not _is_there:
        del sys.modules["rich"]

__all__ = ["structlog"]
