"""python -m controller."""

import signal
import sys

# Process 1 of a container ignores SIGTERM until it says otherwise, and the imports below take a second: a pod
# that is deleted in it would wait for its whole grace period. There is nothing to put in order yet.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))

from controller.program import main  # noqa: E402  (the handler comes first)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
