"""Training of CLIP- and SigLIP-type models on image-report pairs, from a checkpoint or from scratch."""
