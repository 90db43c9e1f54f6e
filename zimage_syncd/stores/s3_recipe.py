"""An S3 store for another process of this program: its settings as one packet, and reading without any patience."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace

import msgspec

from zimage_syncd.model.failures import StoreUnreachable
from zimage_syncd.stores.s3_read import Patience, RangeRead
from zimage_syncd.stores.s3_settings import S3Settings, open_client


def recipe_of(settings: S3Settings) -> bytes:
    """What `open_recipe` takes: JSON, with the keys that were given outright, so from process to process only."""
    return msgspec.json.encode(asdict(settings))


def open_recipe(recipe: bytes) -> Callable[[str, int, int, memoryview], Iterator[memoryview]]:
    """Opens the store; gives what reads a range of an object (whole key, offset, length, buffer).

    Raises:
        Failure: as `open_client`; when reading, as `RangeRead.pieces`, at the first thing that goes wrong.
    """
    settings = replace(S3Settings(**msgspec.json.decode(recipe)), max_attempts=1)
    client = open_client(settings)

    def read(key: str, offset: int, length: int, buffer: memoryview) -> Iterator[memoryview]:
        patience = _NoPatience(f"s3://{settings.bucket}/{key}", time.sleep)
        return RangeRead(client, settings.bucket, key, patience).pieces(offset, length, buffer)

    return read


class _NoPatience(Patience):
    """Gives up at once."""

    def lose(self, error: Exception | None) -> None:
        """A connection broke.

        Raises:
            StoreUnreachable: always.
        """
        raise StoreUnreachable("s3", type(error).__name__ if error else "it ended early") from error
