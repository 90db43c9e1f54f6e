"""What the files of a library's cache mean; nothing here writes."""
