"""`python -m edgetransfer`: what launchers of several processes start."""

from edgetransfer.cli.app import main

main()
