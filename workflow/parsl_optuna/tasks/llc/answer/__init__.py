"""From draws to an estimate, its error and its status."""
