"""The errors this package raises on purpose. Each message says what was found, what was expected and what to do."""


class HwhupError(Exception):
    """Base of all errors raised on purpose; catch this one at a border (node, command line)."""


class ConfigError(HwhupError):
    """A parameter or configuration file is wrong; it stops the program at start."""


class AssetError(HwhupError):
    """A body model, checkpoint or other file is missing, corrupt, or belongs to something else."""


class FrameError(HwhupError):
    """One input frame cannot be used; the frame is dropped and counted, the program goes on."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        """Short stable code for counters, such as `zero_stamp` or `size_mismatch`."""
