"""Data: procedural songs, corpora, filters, tokens in shards and the batches made from them."""
