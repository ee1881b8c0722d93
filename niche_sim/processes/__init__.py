"""The biology, one process a file: its equation, what it reads and writes, its rates and its kernel."""
