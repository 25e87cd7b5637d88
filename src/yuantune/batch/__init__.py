"""From Examples to the tensors of one forward pass."""
