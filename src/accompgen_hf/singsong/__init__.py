"""SingSong, the T5 baseline: its models, batches and generation (paper §2, Table 2)."""
