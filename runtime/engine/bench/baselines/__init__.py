"""What the engine is measured against: other ways to use several ranks, over the same model, attention and mesh."""
