"""Training of networks: schedule, layers, adapters, processes, and the choice between results."""
