"""A bare host onto which the project is cloned."""

hub = ["clone.example.org"]
