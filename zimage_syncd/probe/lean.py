"""Imports of torch, diffusers and transformers without what a single generation never calls.

Seen with torch 2.11 and 2.13, diffusers 0.42 and transformers 5.17 and 5.24: more than half of the processor time of
`from diffusers import ZImagePipeline` goes into torch's compiler and its distributed tensors, and into packages that
the libraries import wherever they happen to be installed. None of it draws a picture.

A process that has imported this way never concludes that a model is bad: whatever fails then is tried again by a
process that imports everything (`Again`).
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

_ABSENT = (
    "accelerate", "av", "bitsandbytes", "bs4", "cv2", "datasets", "deepspeed", "flash_attn", "flax", "ftfy", "gguf",
    "jax", "librosa", "matplotlib", "nltk", "onnx", "onnxruntime", "optimum", "pandas", "peft", "scipy", "sklearn",
    "soundfile", "tensorflow", "timm", "torchao", "torchaudio", "torchvision", "wandb", "xformers",
)  # fmt: skip
"""Optional to diffusers and transformers, which look for them and do without."""

_STOOD_IN_FOR = (
    "torch._dynamo",
    "torch.export",
    "torch.distributed.tensor",
    "torch.distributed.fsdp",
    "torch.distributed.checkpoint",
    "torch.distributed._composable",
)
"""Asked for decorators and for classes to compare with, neither of which does anything where nothing is compiled,
exported or distributed."""

_DEFERRED = frozenset({"diffusers.models.autoencoders", "diffusers.models.transformers", "diffusers.models.unets"})
"""Packages whose `__init__` imports every model that there is; it runs when one is asked for by the package's name."""


@contextlib.contextmanager
def lean_imports() -> Iterator[None]:
    """Keeps out what is not needed from what is imported inside."""
    absent = [name for name in _ABSENT if name not in sys.modules]
    finders = [_StandInFinder(), _DeferringFinder()]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None: importlib says that there is none
    sys.meta_path[:0] = finders
    read_all = importlib.metadata.packages_distributions
    # It opens a file of every installed package, and both libraries call it.
    importlib.metadata.packages_distributions = functools.cache(read_all)
    try:
        yield
    finally:
        importlib.metadata.packages_distributions = read_all
        for finder in finders:
            sys.meta_path.remove(finder)
        for name in absent:
            if sys.modules.get(name, finders) is None:
                del sys.modules[name]
        _forget_stand_ins()


def _forget_stand_ins() -> None:
    for name, module in list(sys.modules.items()):
        if isinstance(module, _StandIn):
            del sys.modules[name]
            parent, _, child = name.rpartition(".")
            if getattr(sys.modules.get(parent), child, None) is module:
                delattr(sys.modules[parent], child)


class _StandIn(ModuleType):
    """A module, or a function of one: its classes have no objects, and its decorators change nothing."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        is_class = name.lstrip("_")[:1].isupper()
        found = type(name, (), {"__init__": _take_anything}) if is_class else _StandIn(f"{self.__name__}.{name}")
        setattr(self, name, found)
        return found

    def __call__(self, function: Any = None, *_arguments: object, **_named: object) -> Any:
        """As a decorator, or as what makes one."""
        return function if callable(function) else self


def _take_anything(self: object, *_arguments: object, **_named: object) -> None:
    """Settings of transformers hold such objects, which nobody uses where nothing is distributed."""


class _StandInFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        del path, target
        if any(fullname == name or fullname.startswith(f"{name}.") for name in _STOOD_IN_FOR):
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run."""


class _Deferred(ModuleType):
    """A package whose `__init__` does not run as long as it is clear which of its modules a name is from."""

    def __getattr__(self, name: str) -> Any:
        loader = None if name.startswith("__") else self.__dict__.get("_deferred_loader")
        if loader is None:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        module = _sources(loader, self.__name__).get(name)
        if module is not None:
            found = getattr(importlib.import_module(module), name)
            setattr(self, name, found)
            return found
        del self.__dict__["_deferred_loader"]
        loader.exec_module(self)
        return getattr(self, name)


@functools.cache
def _sources(loader: Any, package: str) -> dict[str, str]:
    """Which module of a package its `__init__` takes each name from: `from .MODULE import NAME`."""
    return {
        alias.name: f"{package}.{node.module}"
        for node in ast.walk(ast.parse(loader.get_source(package)))
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module
        for alias in node.names
        if alias.asname is None
    }


class _DeferringFinder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target) if fullname in _DEFERRED else None
        if spec is not None and spec.loader is not None:
            spec.loader = _DeferringLoader(spec.loader)
        return spec


class _DeferringLoader(importlib.abc.Loader):
    def __init__(self, loader: importlib.abc.Loader) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _Deferred(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["_deferred_loader"] = self._loader
