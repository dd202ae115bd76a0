"""``python -m mlp_xp`` is the ``mlp-xp`` command; see ``cli``."""

import sys

from mlp_xp.cli import main

if __name__ == "__main__":
    sys.exit(main())
