"""The CPU engine: compiled kernels, and `reference`, the same rule in plain loops (docs/engine.md)."""
