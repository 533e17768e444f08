"""Triton kernels for CUDA devices, each with its launcher. Importing one needs Triton: see `choice`."""
