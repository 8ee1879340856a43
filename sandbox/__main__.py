"""`python -m sandbox` is `fnbox`."""

from sandbox.cli.main import main

if __name__ == "__main__":
    main()
