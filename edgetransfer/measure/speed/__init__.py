"""Times of inferences: summarised, held against the timing protocol, watched over minutes."""
