"""Eve's server gets the address of one that has ended by itself, to which the proxy still leads."""

import pytest

from tests.kit.service import Service, container

pytestmark = pytest.mark.slow


def test_whoever_starts_next_gets_no_address_of_somebody_before(service: Service) -> None:
    """What alice's browser sends is for alice's server."""
    alice, eve = service.person("alice"), service.person("eve")
    eve.stop_server()
    former = service.server_address("alice")
    # as it is where memory has run out
    service.sudo(f"docker kill {container('alice')}")
    eve.start_server()
    answers = [alice.request("GET", "/user/alice/api/status") for _ in range(3)]
    assert [answer.text for answer in answers if "/user/eve/" in str(answer.headers)] == []
    assert service.server_address("eve") != former
    eve.stop_server()
