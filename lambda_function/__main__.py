"""`python -m lambda_function`: the command line, which is not packaged into Lambda."""

import sys

from lambda_function.cli.main import main_for_people

if __name__ == "__main__":
    sys.exit(main_for_people())
