"""The JupyterLab that people share, and its login."""
