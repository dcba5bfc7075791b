"""The methods and their hyperparameters."""
