"""The throwaway host: its certificate is its own authority's, and the lab knows its names."""

hub_user_domains = True
