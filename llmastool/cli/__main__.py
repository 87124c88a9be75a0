"""`python -m llmastool.cli`: the same as the program `llmastool`."""

import sys

from llmastool.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
