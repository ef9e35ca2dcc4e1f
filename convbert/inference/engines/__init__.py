"""The engines that run an exported program: token ids in, logits out."""
