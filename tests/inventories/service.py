"""One host with the whole service, which the tests use; `LAB_OS=bookworm` makes it Debian 12."""

import os

hub = [("service.example.org", {"lab_os": os.environ.get("LAB_OS", "trixie")})]
