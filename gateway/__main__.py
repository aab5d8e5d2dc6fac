"""python -m gateway."""

import signal
import sys

# Process 1 of a container ignores SIGTERM until it says otherwise, and the imports below take a second.
# Nothing is served yet, so there is nothing to drain.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))

from gateway.program import main  # noqa: E402  (the handler comes first)

if __name__ == "__main__":
    sys.exit(main())
