"""The health check's own process: the only part that imports torch, diffusers, transformers and modelscope."""
