"""Metrics (numbers in, numbers out) and the evaluation of checkpoints."""
