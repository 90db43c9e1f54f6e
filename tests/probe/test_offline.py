"""No request leaves the process."""

import os
import socket
import subprocess
import sys

import pytest

import zimage_syncd
from zimage_syncd.probe.offline import REFUSED

ROOT = os.path.dirname(os.path.dirname(zimage_syncd.__file__))


def run(code):
    """Runs code in a process that went offline, and returns what it printed and its standard error."""
    program = f"import socket, urllib.request\nfrom zimage_syncd.probe import offline\noffline.go_offline()\n{code}"
    answer = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    return answer.stdout.strip(), answer.stderr


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        yield server


ATTEMPTS = {
    "connect": "socket.create_connection(('127.0.0.1', {port}))",
    "http": "urllib.request.urlopen('http://127.0.0.1:{port}/')",
    "lookup": "socket.getaddrinfo('huggingface.example', 443)",
    "old lookup": "socket.gethostbyname('huggingface.example')",
    "datagram": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {port}))",
}


@pytest.mark.parametrize("kind", ATTEMPTS)
def test_every_way_out_is_refused_and_told(listener, kind):
    attempt = ATTEMPTS[kind].format(port=listener.getsockname()[1])
    code = f"try:\n    {attempt}\nexcept OSError as error:\n    print('refused')"
    output, errors = run(code)
    assert output == "refused"
    assert REFUSED in errors
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_unix_sockets_are_left_alone():
    code = (
        "a, b = socket.socketpair()\na.sendall(b'x')\ntry:\n    socket.socket(socket.AF_UNIX).connect('/nonexistent')\n"
    )
    output, errors = run(code + "except FileNotFoundError:\n    print('tried')")
    assert output == "tried"
    assert REFUSED not in errors


def test_the_libraries_are_told_to_be_offline():
    output, _ = run("import os\nprint(os.environ['HF_HUB_OFFLINE'], os.environ['TRANSFORMERS_OFFLINE'])")
    assert output == "1 1"
