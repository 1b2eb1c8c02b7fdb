"""The command `diglot`, and `python -m diglot` for launchers: torchrun --nproc-per-node 4 -m -- diglot run recipe.yaml.

The command line is imported here, and not above, so that Ctrl-C ends it quietly from its first moment on.
"""

import sys

from diglot.base.interrupts import INTERRUPTED, interrupts_wait


def main() -> None:
    """Import the command line and run it."""
    try:
        with interrupts_wait():
            from diglot.cli import main as run
        run()
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
