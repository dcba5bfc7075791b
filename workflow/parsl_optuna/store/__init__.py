"""What is on disk: layout, atomic writes, verified reads."""
