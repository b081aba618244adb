"""N-way K-shot episodes, and starts that are trained over them."""
