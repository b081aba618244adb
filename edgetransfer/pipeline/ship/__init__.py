"""From a compressed graph to a bundle, and from a bundle to another."""
