"""The internet as the firewall's test sees it: a host outside the deploy, which also carries the
address of the clouds' metadata service."""

internet = [("outside.example.net", {"lab_addresses": ["169.254.169.254"]})]
