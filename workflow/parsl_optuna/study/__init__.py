"""Planning, proposing and driving. Only search imports Optuna."""
