"""Samplers: pure functions on batches of chains. Imports torch, knows nothing of trials."""
