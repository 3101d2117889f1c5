"""``python -m splitsec``."""

from splitsec.cli import main

if __name__ == "__main__":
    main()
