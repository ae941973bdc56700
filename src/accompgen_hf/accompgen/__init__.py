"""All files that travel with the weights: siblings that import each other by name."""
