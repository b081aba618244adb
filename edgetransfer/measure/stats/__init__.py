"""Statistics that know nothing of models: proportions, pairs, quantiles, ratios, curves."""
