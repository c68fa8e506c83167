"""Options of every command: frozen dataclasses in, flags, YAML and option files out.

Those of models and datasets stand here too, not beside what they steer: nothing in this package
imports torch, so that a wrong command line is refused, and `--help` printed, at once.
"""

from options.flags import ParsedOptions, parse_command
from options.record import write_options

__all__ = ["ParsedOptions", "parse_command", "write_options"]
