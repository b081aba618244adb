"""`python -m edgetransfer`: what launchers of several processes start."""

from edgetransfer.cli.entry import main

main()
