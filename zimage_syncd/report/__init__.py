"""How results are shown, and where integrity reports are kept."""
