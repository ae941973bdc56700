"""What is measured: of one accompaniment, or between sets of them."""
