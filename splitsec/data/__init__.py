"""Images: loaded, decoded, cached, and partitioned once into who holds them."""
