#!/usr/bin/python3 -I
"""Written by Hubstead: asks for every certificate that this host serves, over TLS.

    certificate-check DAYS   fails when one ends within so many days, or is not served

/etc/hubstead/tls/endpoints has them, one a line: tls or postgres, address, port, name. What is
found is written for node-exporter, too.
"""

import os
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ENDPOINTS = Path("/etc/hubstead/tls/endpoints")
METRICS = Path("/var/lib/prometheus/node-exporter/hubstead_certificate.prom")
METRIC = "hubstead_certificate_"
PATIENCE = 60  # seconds for a server that is just starting


def served(kind: str, address: str, port: str, name: str) -> int | None:
    """The moment when the served certificate ends; None when none is served."""
    command = ["openssl", "s_client", "-connect", f"{address}:{port}"]
    # RFC 6066, 3: there is no server name that is an address
    is_address = ":" in name or name.replace(".", "").isdigit()
    command += ["-noservername"] if is_address else ["-servername", name]
    command += ["-starttls", "postgres"] if kind == "postgres" else []
    try:
        shown = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=10
        ).stdout
    except subprocess.TimeoutExpired:
        return None
    done = subprocess.run(
        ["openssl", "x509", "-noout", "-enddate"], input=shown, capture_output=True
    )
    end = done.stdout.decode().strip().removeprefix("notAfter=")
    return ssl.cert_time_to_seconds(end) if end else None


def write_metrics(ends: list[tuple[str, int | None]]) -> None:
    """For each certificate its labels, and the moment of its end."""
    answers, moments = METRIC + "check_success", METRIC + "not_after_timestamp_seconds"
    lines = [
        f"# HELP {answers} Whether a certificate is served.",
        f"# TYPE {answers} gauge",
        *(answers + labels + str(int(end is not None)) for labels, end in ends),
        f"# HELP {moments} When the served certificate ends.",
        f"# TYPE {moments} gauge",
        *(moments + labels + str(end) for labels, end in ends if end is not None),
    ]
    with tempfile.NamedTemporaryFile("w", dir=METRICS.parent, delete=False) as file:
        file.write("\n".join(lines) + "\n")
    Path(file.name).chmod(0o644)
    Path(file.name).replace(METRICS)


def main() -> None:
    days = float(sys.argv[1])
    deadline = time.monotonic() + PATIENCE
    # sd-daemon(3): a warning, in the journal
    prefix = "<4>" if "JOURNAL_STREAM" in os.environ else ""
    ends: list[tuple[str, int | None]] = []
    fine = True
    for line in ENDPOINTS.read_text().splitlines():
        kind, address, port, name = line.split()
        end = served(kind, address, port, name)
        while end is None and time.monotonic() < deadline:
            time.sleep(2)
            end = served(kind, address, port, name)
        ends.append((f'{{name="{name}",port="{port}"}} ', end))
        where = f"The certificate of {name} on port {port}"
        if end is None:
            print(f"{prefix}{where} cannot be had: nothing answers over TLS", flush=True)
            fine = False
        elif end - time.time() < days * 86400:
            left = (end - time.time()) / 86400
            how = f"ends in {left:.1f} days" if left > 0 else "has expired"
            print(f"{prefix}{where} {how}: its renewal does not work", flush=True)
            fine = False
    write_metrics(ends)
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
