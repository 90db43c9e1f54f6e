"""The configuration: its schema, where it is looked for, and what is refused."""

from zimage_syncd.config.load import load_config
from zimage_syncd.config.schema import HUBS, Config, Store, StoreKind

__all__ = ["HUBS", "Config", "Store", "StoreKind", "load_config"]
