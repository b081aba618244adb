"""Moving what is fitted to the device's examples, which have no labels."""
