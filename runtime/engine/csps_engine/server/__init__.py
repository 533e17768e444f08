"""The control API of a rank over HTTP, and the assembly of the rank behind it."""
