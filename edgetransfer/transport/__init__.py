"""Where the agent runs: each module is one way to start it and get its files back."""
