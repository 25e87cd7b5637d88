"""How yuan2-mini is made: from public text and exercises to weights. `python -m recipes.yuan2_mini --help`."""
