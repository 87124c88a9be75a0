"""What a run shows on the console: its own words and surprises, not the machinery's chatter.

Everything goes to the Prefect server unchanged. `flows.server.QUIET` puts this handler in place.
"""

from __future__ import annotations

import logging
from pathlib import PurePath

from prefect.logging.handlers import PrefectConsoleHandler

from llmastool.errors import LLMasToolError

_ENGINES = frozenset({"flow_engine.py", "task_engine.py", "engine.py", "task_runners.py"})
"""Files of Prefect that report each start and end of each flow and task."""


class Console(PrefectConsoleHandler):
    """Prefect's console handler, which leaves out what the caller says better.

    The engine's reports below a warning are left out, and so are its tracebacks of errors that are about the user's
    input: whoever started the run says those in one line.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Show the record unless it is chatter."""
        if not is_chatter(record):
            super().emit(record)


def is_chatter(record: logging.LogRecord) -> bool:
    """Return whether a record is Prefect's own report that the console can do without."""
    if "prefect" not in PurePath(record.pathname).parts or PurePath(record.pathname).name not in _ENGINES:
        return False
    if record.levelno < logging.WARNING or record.getMessage().startswith("Finished in state"):
        return True
    error = record.exc_info[1] if record.exc_info else None
    return isinstance(error, LLMasToolError | OSError | KeyboardInterrupt)
