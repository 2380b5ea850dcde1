"""`python -m imageflow`: the same as the command `imageflow`."""

from imageflow.cli import main

main()
