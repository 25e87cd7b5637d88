"""Runs measured against each other."""
