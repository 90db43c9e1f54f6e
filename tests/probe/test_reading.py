"""Threads that read weights, in orders that a busy machine brings about."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.probe


def test_a_thread_may_have_read_everything_before_its_starter_goes_on():
    code = (
        "import concurrent.futures, torch\n"
        "from zimage_syncd.probe import device, reading\n"
        "class Slow(concurrent.futures.ThreadPoolExecutor):\n"
        "    def submit(self, *arguments):\n"
        "        future = super().submit(*arguments)\n"
        "        concurrent.futures.wait([future], timeout=5)\n"
        "        return future\n"
        "reading.ThreadPoolExecutor = Slow\n"
        "print(reading.Reading((), device.Device('cpu', 'cpu', torch.float32)).finish())\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=170, check=False)
    assert said.stdout == "{}\n", said.stderr
