"""``python -m workflow`` is ``parsl-optuna``."""

from workflow.cli.main import main

main()
