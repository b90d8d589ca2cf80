"""`proxy`: what routes people to their servers."""
