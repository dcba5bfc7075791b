"""``python -m parsl_optuna`` is ``parsl-optuna``."""

from parsl_optuna.cli.main import main

main()
