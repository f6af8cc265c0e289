"""`crisp` with one part left out or replaced, as configurations: what each part contributes (docs/recipe.md)."""
