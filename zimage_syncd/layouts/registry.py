"""All layouts that this program knows."""

from __future__ import annotations

from zimage_syncd.layouts.huggingface import HuggingFaceLayout
from zimage_syncd.layouts.modelscope import ModelScopeLayout
from zimage_syncd.ports import Layout


def all_layouts() -> tuple[Layout, ...]:
    """One object for each library."""
    return HuggingFaceLayout(), ModelScopeLayout()
