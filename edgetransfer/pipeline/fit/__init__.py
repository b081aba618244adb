"""From a recipe to a fitted float graph: the stages of every method."""
