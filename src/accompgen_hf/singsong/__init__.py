"""SingSong, the T5 baseline: its models, batches and generation (paper §2, Table 2)."""

from accompgen_hf.singsong import stage_kinds  # noqa: F401  (lets the training loop train its models)
