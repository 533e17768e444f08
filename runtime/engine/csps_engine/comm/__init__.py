"""The mesh: how the ranks of one epoch exchange bytes and tensors."""
