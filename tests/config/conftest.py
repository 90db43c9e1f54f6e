"""A directory where configurations are written and loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from zimage_syncd.config import Config, load_config

Load = Callable[..., Config]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Writes a file with `cache.dir`, and loads it together with variables; `text` follows, or replaces it all."""

    def load(text: str = "", *, whole: bool = False, **environ: str) -> Config:
        place = tmp_path / "zimage.toml"
        place.write_text(text if whole else f'[cache]\ndir = "/mnt/data/cache"\n{text}')
        place.chmod(0o600)
        return load_config(str(place), environ, str(tmp_path), str(tmp_path))

    return load
