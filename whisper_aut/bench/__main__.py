"""``python -m whisper_aut.bench WHAT`` is ``whisper-aut bench WHAT``."""

from __future__ import annotations

import sys

from whisper_aut.bench.commands import app
from whisper_aut.errors import WhisperAutError
from whisper_aut.machine import set_thread_environment

if __name__ == "__main__":
    set_thread_environment()
    try:
        app(standalone_mode=False)
    except WhisperAutError as error:
        print("error: " + "\n".join(error.lines()), file=sys.stderr)
        sys.exit(error.exit_code)
