"""`python -m darkcovid` is the `darkcovid` command."""

from darkcovid.cli import main

main()
