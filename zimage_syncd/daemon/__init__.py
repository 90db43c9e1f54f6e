"""The long-running service: one runner, a schedule, signals."""
