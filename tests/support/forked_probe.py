"""Probes that were started ahead of their request, without the seconds for the imports: forked from one that has them.

Everything from the request on is done by a process of its own, which ends as a probe does, or becomes another one.
Tests of the start and of the imports start a probe themselves.
"""

from __future__ import annotations

import gc
import io
import os
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import IO

from tests.support import forked
from zimage_syncd.model.health import AHEAD_VARIABLE, HealthRequest, HealthResult
from zimage_syncd.model.health_json import decode_result, encode_request

_LAYOUT = "huggingface"


def probe_ahead(request: HealthRequest) -> tuple[HealthResult, str]:
    """The result of a probe that was started ahead, and what it wrote to standard error."""
    environment = {**os.environ, AHEAD_VARIABLE: _LAYOUT}
    code, said, errors = forked.ask("tests.support.forked_probe", [], environment, Path.cwd(), encode_request(request))
    assert code == 0, errors.decode()
    return decode_result(said), errors.decode()


def _serve(connection: socket.socket) -> None:
    from zimage_syncd.probe import offline

    offline.go_offline()
    from zimage_syncd.probe import __main__ as entry
    from zimage_syncd.probe import ahead

    _, begun = ahead.import_until_asked(_LAYOUT, io.BytesIO(b"\n"), 2)
    gc.freeze()
    sys.argv = [str(entry.__file__), *forked.serve(connection)]

    def answer_at_once(layout: str, stream: IO[bytes], limit_bytes: int) -> tuple[bytes, ahead.Begun]:
        assert layout == _LAYOUT
        return stream.read(limit_bytes), replace(begun, asked_s=time.clock_gettime(time.CLOCK_BOOTTIME))

    ahead.import_until_asked = answer_at_once
    status = entry.main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
