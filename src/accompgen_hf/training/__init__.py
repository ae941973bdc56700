"""Training of the stages and of the small parts of the shipped default."""
