"""`python -m monai_tumor.cli`, the command `monai-tumor`."""

import sys

from monai_tumor.cli import main

if __name__ == "__main__":
    sys.exit(main())
