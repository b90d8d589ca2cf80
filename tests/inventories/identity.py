"""A bare host that plays an organisation's identity provider, GitHub and Google
(tests/kit/identity.py); the lab's other hosts find it under all their names."""

_data = {
    "lab_memory": 512,
    "lab_names": ["github.com", "api.github.com", "accounts.google.com", "www.googleapis.com"],
}

identity = [("id.example.net", _data)]
