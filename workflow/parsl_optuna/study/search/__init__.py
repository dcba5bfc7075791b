"""What a study tries next; the only door to Optuna."""
