"""Photos in, reconstructed faces out: whoever reconstructs them, and what is written of each."""
