"""One module or package per task; each has a ``TASK``. Nothing is registered, nothing is scanned."""
