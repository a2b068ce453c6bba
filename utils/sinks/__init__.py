"""Where moving pictures go."""

from utils.sinks.opening import is_sink, open_sink
from utils.sinks.sink import Sink

__all__ = ["Sink", "is_sink", "open_sink"]
