"""Depth rendering of posed bodies: face ids, differentiable depth, and pictures for people."""
