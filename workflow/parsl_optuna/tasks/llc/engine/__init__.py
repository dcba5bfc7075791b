"""Starts, warm-up and drawing: one loop for every sampler."""
