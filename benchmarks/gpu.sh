#!/bin/sh
# Measure the CUDA engine, on a machine with Python, CUDA torch and Triton, and no network: docs/cuda.md.
#   benchmarks/gpu.sh --help
cd "$(dirname "$0")/.." || exit 1
PYTHONUNBUFFERED=1 PYTHONPATH=src${PYTHONPATH:+:$PYTHONPATH} exec "${PYTHON:-python3}" -m benchmarks.gpu "$@"
