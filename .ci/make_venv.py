"""Makes the virtual environment that the Makefile installs into; needs Python's standard library only.

An environment that is there already is kept. Where the chosen interpreter has a torch, the new environment sees that
interpreter's packages, and its torch is written down as a constraint for pip.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import site
import subprocess
import sys
from pathlib import Path

CONSTRAINT = "torch-constraint.txt"
MADE_ON = "made-on.txt"


def main(directory: str, chosen: str = "") -> int:
    """Makes the environment.

    Args:
        directory: where.
        chosen: not empty where a person named this interpreter; another one's environment is then refused.

    Returns:
        0 when it is there; 1 where it could not be made, after a message that says what to do.
    """
    if sys.version_info < (3, 11):  # noqa: UP036 (this file is what tells a person with an older one)
        return refuse(f"Python 3.11 or newer is needed, found {sys.version.split()[0]}; try: make PYTHON=python3.11 …")
    venv = Path(directory)
    made_on = read(venv / MADE_ON)
    if chosen and made_on not in {"", sys.prefix}:
        return refuse(f"{venv} was made on {made_on}, not on {sys.prefix}; `make distclean`, or add VENV=another-place")
    torch = torch_version()
    if not (venv / "bin" / "python").exists() and not make(venv, sees_ours=torch is not None):
        return 1
    if not (venv / CONSTRAINT).exists():
        (venv / CONSTRAINT).write_text(f"torch=={torch}\n" if torch else "", encoding="utf-8")
    return 0


def read(path: Path) -> str:
    """A file's text; empty where there is none."""
    return path.read_text(encoding="utf-8").strip() if path.exists() else ""


def torch_version() -> str | None:
    """The torch of this interpreter, which is not imported: that takes seconds."""
    if importlib.util.find_spec("torch") is None:
        return None
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return None


def make(venv: Path, *, sees_ours: bool) -> bool:
    """Makes it, after installing what Debian splits off from Python; False where that failed."""
    command = maker()
    if command is None:
        return False
    options = ["--system-site-packages"] if sees_ours else []
    completed = subprocess.run([*command, *options, str(venv)], check=False)
    if completed.returncode:
        shutil.rmtree(venv, ignore_errors=True)  # half an environment would pass for a whole one the next time
        refuse(f"{' '.join(command)} failed with exit code {completed.returncode}")
        return False
    if sees_ours and sys.prefix != sys.base_prefix:
        see_environment(venv)
    (venv / MADE_ON).write_text(f"{sys.prefix}\n", encoding="utf-8")
    return True


def maker() -> list[str] | None:
    """The command that makes an environment; None where there is none, after a message."""
    if importlib.util.find_spec("ensurepip") and importlib.util.find_spec("venv"):
        return [sys.executable, "-m", "venv"]
    if importlib.util.find_spec("virtualenv"):
        return [sys.executable, "-m", "virtualenv", "--quiet"]
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    if os.geteuid() == 0 and shutil.which("apt-get"):
        sys.stdout.write(f"==> installing {package}, which Debian splits off from Python\n")
        sys.stdout.flush()
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "DEBCONF_NOWARNINGS": "yes"}
        for arguments in (["update"], ["install", "-y", "--no-install-recommends", package]):
            subprocess.run(["apt-get", "-qq", *arguments], check=False, env=environment, stdout=subprocess.DEVNULL)
        importlib.invalidate_caches()
        if importlib.util.find_spec("ensurepip"):
            return [sys.executable, "-m", "venv"]
    refuse(f"{sys.executable} has no module ensurepip; as root: apt-get install {package}; or: pip install virtualenv")
    return None


def see_environment(venv: Path) -> None:
    """Lets the new environment see the packages of the environment that this interpreter belongs to.

    `--system-site-packages` shows only those of the interpreter below it.
    """
    target = next((venv / "lib").glob("python*/site-packages"))
    (target / "zimage-syncd-base.pth").write_text("\n".join(site.getsitepackages()) + "\n", encoding="utf-8")


def refuse(message: str) -> int:
    """Says why there is no environment."""
    sys.stderr.write(f"make_venv: {message}\n")
    return 1


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
