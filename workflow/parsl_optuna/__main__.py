"""``python -m workflow`` is ``parsl-optuna``."""

from parsl_optuna.cli.main import main

main()
