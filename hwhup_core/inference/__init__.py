"""From frames to body estimates: the engine that nodes and the command line share."""

from hwhup_core.inference.config import EngineConfig
from hwhup_core.inference.engine import Engine, build_engine

__all__ = ['Engine', 'EngineConfig', 'build_engine']
