"""``python -m stream`` is ``tenfold``."""

from stream.cli import main

if __name__ == "__main__":
    main()
