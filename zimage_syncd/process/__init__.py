"""Other processes: programs that jobs start and wait for, each in a group of its own, and daemons to be kept away."""
