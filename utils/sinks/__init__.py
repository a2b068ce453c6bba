"""Where moving pictures go."""

from utils.sinks.opening import check_sink, is_sink, open_sink
from utils.sinks.sink import Sink

__all__ = ["Sink", "check_sink", "is_sink", "open_sink"]
