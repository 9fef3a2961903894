"""Ray and machines: sessions, workers, and the training of one configuration on them."""
