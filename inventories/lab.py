"""One throwaway host on this machine: `python -m lab up inventories/lab.py` boots it."""

hub = ["hub.example.org"]
