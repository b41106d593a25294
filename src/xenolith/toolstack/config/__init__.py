"""xl.cfg(5): its syntax, its keys, and the DomainConfig that a file means."""

from xenolith.toolstack.config.domain_config import Action, DomainConfig, DomainType, EngineChoice
from xenolith.toolstack.config.errors import ConfigError, Position, Problem
from xenolith.toolstack.config.load import Loaded, load, loads

__all__ = [
    "Action",
    "ConfigError",
    "DomainConfig",
    "DomainType",
    "EngineChoice",
    "Loaded",
    "Position",
    "Problem",
    "load",
    "loads",
]
