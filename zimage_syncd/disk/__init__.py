"""Everything that writes to caches, cache links and the program's own state on the data disk."""
