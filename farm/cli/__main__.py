"""``python -m farm.cli``: the same as ``farm``, where no console script is on the PATH."""

from farm.cli import main

if __name__ == "__main__":
    main()
