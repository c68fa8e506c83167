"""Options of every command: frozen dataclasses in, flags, YAML and option files out."""

from options.flags import ParsedOptions, parse_command
from options.record import write_options

__all__ = ["ParsedOptions", "parse_command", "write_options"]
