"""Starts the agent: ``python agent.pyz JOB.json``."""

import sys

from edgetransfer.agent.main import main

sys.exit(main(sys.argv[1:]))
