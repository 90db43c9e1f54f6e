"""`python -m zimage_syncd` and the command `zimage-syncd`."""

from __future__ import annotations

import gc
import sys

_OBJECTS_BETWEEN_COLLECTIONS = 50_000
"""Python's default of 700 makes collections 4 % of a restore's processor time (measured), most while importing."""


def main() -> None:
    """Runs the command line and ends the process with its exit code."""
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    from zimage_syncd.cli.app import run  # noqa: PLC0415 - importing it is what the line above is for

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
