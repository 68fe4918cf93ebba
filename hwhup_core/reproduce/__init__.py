"""The paper's tables, run again where the truth is known."""
