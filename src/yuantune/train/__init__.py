"""Training: the step, the run around it, and what a run leaves in its folder."""
