"""Pure functions: facts in, decisions out."""
