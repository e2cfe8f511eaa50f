"""``python -m market``."""

import sys

from market.main import main

sys.exit(main(sys.argv[1:]))
