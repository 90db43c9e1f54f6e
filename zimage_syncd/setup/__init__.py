"""What the program leaves on the system disk so that others find the cache."""
