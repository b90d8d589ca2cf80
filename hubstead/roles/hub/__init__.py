"""JupyterHub, and its choices: a folder each, and in it one part a module (hubstead.parts)."""
