"""The folder that is shipped: artefact, contract, golden vectors, agent, and the digest of each."""
