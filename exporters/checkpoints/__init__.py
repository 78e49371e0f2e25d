"""Reads torch checkpoints: CLIP and SigLIP of transformers, and models of open_clip."""
