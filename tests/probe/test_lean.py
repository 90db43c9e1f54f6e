"""Imports without what no single generation calls; each in a process of its own, for nothing can be unimported."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.probe


def run(code):
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=170, check=False)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.strip()


def test_what_was_kept_out_is_there_for_whoever_asks_afterwards():
    said = run(
        "import sys\n"
        "from zimage_syncd.probe.lean import lean_imports\n"
        "with lean_imports():\n"
        "    import torch\n"
        "    from diffusers import ZImagePipeline\n"
        "    assert type(sys.modules['torch._dynamo']).__name__ == '_StandIn'\n"
        "    assert 'sympy' not in sys.modules\n"
        "import torch._dynamo\n"
        "import torch.export\n"
        "import accelerate\n"
        "from diffusers.models.autoencoders import AutoencoderDC, AutoencoderKL\n"
        "from diffusers import AutoencoderKL as same\n"
        "assert same is AutoencoderKL\n"
        "print(torch._dynamo.is_compiling(), callable(torch.export.export), accelerate.__version__ > '')\n"
    )
    assert said == "False True True"


def test_what_is_not_installed_is_not_there_afterwards_either():
    said = run(
        "from zimage_syncd.probe.lean import lean_imports\n"
        "with lean_imports():\n"
        "    pass\n"
        "try:\n"
        "    import tensorflow\n"
        "except ModuleNotFoundError as error:\n"
        "    print(error.name)\n"
    )
    assert said == "tensorflow"


def test_the_program_s_own_failure_inside_is_passed_on_and_cleaned_up_after():
    said = run(
        "import sys\n"
        "from zimage_syncd.probe.lean import lean_imports\n"
        "before = list(sys.meta_path)\n"
        "try:\n"
        "    with lean_imports():\n"
        "        import torch._dynamo\n"
        "        raise ValueError\n"
        "except ValueError:\n"
        "    print(sys.meta_path == before, 'torch._dynamo' in sys.modules, 'sklearn' in sys.modules)\n"
    )
    assert said == "True False False"
