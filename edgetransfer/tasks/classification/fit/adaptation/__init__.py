"""Domain adaptation: what is fitted is moved to the device's examples, which have no labels."""
