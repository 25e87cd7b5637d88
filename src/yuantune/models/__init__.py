"""Base models: finding and loading them, Yuan2 itself, the loss. Importing the package itself costs nothing."""
