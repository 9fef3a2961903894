"""Images on disk, as batches that are a function of (seed, stage, step, shard)."""
