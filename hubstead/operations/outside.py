"""The service as the control machine finds it: from outside the host, by name and certificate."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Generator
from dataclasses import dataclass

from pyinfra import logger
from pyinfra.api import QuoteString, StringCommand, operation
from pyinfra.connectors.ssh import SSHConnector
from pyinfra.context import ctx_state, host

from hubstead.operations import trust

#: Seconds for one step of a connection
PATIENCE = 10
#: Of a chain that leads to no authority it knows, OpenSSL says one of these (x509_vfy.h)
_UNKNOWN_AUTHORITY = {18, 19, 20, 21}


@dataclass(frozen=True)
class Page:
    """What is asked for: a path at a name, and the status of its answer (RFC 9110, 15)."""

    name: str
    path: str
    status: int


def ask(page: Page, address: str, port: int, context: ssl.SSLContext) -> None:
    """Raises OSError or HTTPException where the page is not there, with the reason as its text."""
    connection = http.client.HTTPSConnection(page.name, port, timeout=PATIENCE)
    with socket.create_connection((address, port), timeout=PATIENCE) as plain:
        connection.sock = context.wrap_socket(plain, server_hostname=page.name)
        with connection.sock:
            connection.request("GET", page.path)
            status = connection.getresponse().status
    if status != page.status:
        raise http.client.HTTPException(f"it says {status} and not {page.status}")


def _way(name: str, port: int) -> str | None:
    """The address of a name; where it has none yet, that of this run's own connection.

    None where that leads through another host (ssh_config(5), ProxyJump).
    """
    try:
        return str(socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)[0][4][0])
    except OSError:
        connector = host.connector
    if not isinstance(connector, SSHConnector):
        return "127.0.0.1"
    transport = connector.client.get_transport() if connector.client else None
    if transport is None or not isinstance(transport.sock, socket.socket):
        return None
    logger.info(f"{host.name}: {name} has no address here yet: it is asked at that of SSH")
    return str(transport.sock.getpeername()[0])


def reason(page: Page, port: int, authority: str | None) -> str | None:
    """Why the page is not to be had from here; None where it is."""
    address = _way(page.name, port)
    if address is None:
        logger.warning(
            f"{host.name}: {page.name} has no address here, and SSH leads through another host: "
            "whether people reach the service was not tried."
        )
        return None
    context = ssl.create_default_context(cadata=authority)
    try:
        try:
            ask(page, address, port, context)
        except ssl.SSLCertVerificationError as error:
            if authority or error.verify_code not in _UNKNOWN_AUTHORITY:
                raise
            logger.warning(
                f"{host.name}: this machine does not know the authority of {page.name}'s "
                f"certificate ({error.verify_message})"
            )
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            ask(page, address, port, context)
    except (OSError, http.client.HTTPException) as error:
        return (
            f"https://{page.name}:{port}{page.path} at {address}: {error or type(error).__name__}"
        )
    return None


@operation()
def answers(
    pages: list[Page], port: int, mend: str, authority: str | None = None
) -> Generator[StringCommand]:
    """Ensure that pages can be had from the control machine, once all before it was done.

    + authority: path on the host of the certificate that their chain leads to; None for one that
      this machine knows. One that it does not know is a warning.
    + mend: what to look at where they cannot.

    A plan (`--dry`) asks for nothing.
    """
    if not ctx_state.get().is_executing:
        return
    known = host.get_fact(trust.Certificates, authority).get(authority) if authority else None
    for page in pages:
        if said := reason(page, port, known):
            text = f"From this machine the service does not answer: {said}\n{mend}"
            yield StringCommand("printf '%s\\n'", QuoteString(text), ">&2; false")
            return
