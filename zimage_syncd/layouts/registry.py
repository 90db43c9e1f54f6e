"""All layouts that this program knows."""

from __future__ import annotations

from zimage_syncd.layouts.huggingface import HuggingFaceLayout
from zimage_syncd.layouts.modelscope import ModelScopeLayout
from zimage_syncd.model.failures import UsageInvalid
from zimage_syncd.model.snapshot import LayoutName
from zimage_syncd.ports import Layout

ALL: tuple[Layout, ...] = (HuggingFaceLayout(), ModelScopeLayout())
"""One object for each library; they hold no state."""


def all_layouts() -> tuple[Layout, ...]:
    """One object for each library."""
    return ALL


def layout_of(name: LayoutName) -> Layout:
    """The layout that knows a name.

    Raises:
        UsageInvalid: none does.
    """
    for layout in ALL:
        if name in layout.names:
            return layout
    raise UsageInvalid(str(name), f"a layout is one of {', '.join(LayoutName)}")
