"""Rotations, cameras, crops and depth: functions on tensors and arrays, no model and no file."""
