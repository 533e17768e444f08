"""Plans, results and shapes that every other layer speaks in. Imports neither torch nor I/O."""
