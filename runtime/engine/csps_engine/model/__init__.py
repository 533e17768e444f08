"""The model: configuration, weight loaders and the dense pieces of the forward pass."""
