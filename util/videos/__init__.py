"""Videos in, a moving face out: fitted part by part, written frame by frame."""
