"""The interactive report: one self-contained page, written while a run lasts and by ``analyze``."""
