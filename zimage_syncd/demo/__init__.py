"""The whole story on a tiny model, in a temporary directory, with real parts."""
