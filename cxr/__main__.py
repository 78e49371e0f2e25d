"""`python -m cxr`, the same as the command `cxr`."""

from cxr.main import main

if __name__ == "__main__":
    main()
