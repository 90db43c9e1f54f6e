"""Other programs that jobs start and wait for, each in a process group of its own."""
