"""Values that flow through the program: frozen, validated, and without any input or output."""
