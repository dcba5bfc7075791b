"""The public calls for notebooks and scripts."""
