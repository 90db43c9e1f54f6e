"""What the interpreter of an installed copy runs: the command line, in the environment of whoever called it."""

from __future__ import annotations

import os
import sys


def begin(home: str) -> None:
    """Lets the copy's packages be found, and children find the interpreter and their own libraries.

    Args:
        home: the copy's directory.
    """
    before = os.environ.pop("ZIMAGE_SYNCD_LIBRARY_PATH", "")
    if before:
        os.environ["LD_LIBRARY_PATH"] = before
    else:
        os.environ.pop("LD_LIBRARY_PATH", None)
    sys.executable = os.path.join(home, "bin", "python")
    sys.path.append(os.path.join(home, "packages"))


if __name__ == "__main__":
    begin(os.path.dirname(os.path.abspath(__file__)))
    from zimage_syncd.__main__ import main

    main()
