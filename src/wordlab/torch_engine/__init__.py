"""The engine for GPUs, in torch and Triton (docs/cuda.md)."""
