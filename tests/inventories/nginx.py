"""The edge Nginx on one host of each release, beside other sites."""

hub = [
    ("nginx13.example.org", {"edge": "nginx"}),
]
