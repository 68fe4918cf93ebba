"""Losses, sample pools and the trainer."""
