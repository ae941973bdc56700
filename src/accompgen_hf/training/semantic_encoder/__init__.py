"""Training of the semantic encoder and its centroids."""
