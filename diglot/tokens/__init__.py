"""Token shards, the order in which training reads them, and the batches made of them."""
