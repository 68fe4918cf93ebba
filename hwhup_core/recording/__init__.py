"""Frames on their way into a recording: which are good enough, which are worth keeping, and in which state."""
