"""Scores of predictions. No torch: it scores a file on any machine."""
