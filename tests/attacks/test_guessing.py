"""Somebody guesses many passwords at once: they wait for themselves, and others log in."""

from __future__ import annotations

import json
import threading
import time

import pytest

from tests.kit.hub_client import HubClient
from tests.kit.service import NAME, PASSWORD, Service

pytestmark = pytest.mark.slow

#: Logs in with wrong passwords: URL, names, how many at once. Prints the statuses of the answers.
GUESS = r"""
import json, re, ssl, sys, urllib.error, urllib.parse, urllib.request
from concurrent.futures import ThreadPoolExecutor
url, names, at_once = json.load(sys.stdin)
trusting = ssl.create_default_context(cafile="/etc/hubstead/tls/ca.pem")
class Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments):
        return None
direct = urllib.request.build_opener(
    urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusting), Stay)
def guess(name):
    try:
        form = direct.open(url, timeout=100)
        xsrf = re.search("_xsrf=([^;]+)", form.headers["Set-Cookie"])[1]
        fields = {"username": name, "password": "wrong guess", "_xsrf": xsrf}
        data = urllib.parse.urlencode(fields).encode()
        post = urllib.request.Request(url, data, {"Cookie": "_xsrf=" + xsrf})
        return direct.open(post, timeout=100).status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0
with ThreadPoolExecutor(at_once) as threads:
    print(json.dumps(list(threads.map(guess, names))))
"""


def guesses(service: Service, url: str, names: list[str], at_once: int) -> list[int]:
    """The answers that an account of the host without rights gets."""
    asked = json.dumps([url, names, at_once])
    source = service.sudo("mktemp /tmp/guess.XXXX").strip()
    service.sudo(f"cat >{source}; chmod 644 {source}", input=GUESS)
    try:
        return list(json.loads(service.stranger(f"python3 {source}", input=asked)))
    finally:
        service.sudo(f"rm {source}")


def check_few_guesses(service: Service, right: HubClient, password: str) -> None:
    """Fifty guesses of one name, and one each for fifty, help nobody; the right person gets in."""
    login = f"https://{right.site.name}/hub/login"
    answers = guesses(service, login, [right.username] * 50, 10)
    # what was being checked when the tenth had failed
    assert answers.count(403) <= 20 and answers.count(429) >= 30, answers
    right.log_in(password)
    answers = guesses(service, login, [f"pupil{number}" for number in range(50)], 10)
    assert set(answers) <= {403, 429}, answers
    HubClient(right.site, right.username).log_in(password)


def test_few_guesses_of_a_name_are_answered(service: Service) -> None:
    check_few_guesses(service, service.visitor("bob"), PASSWORD)


def test_many_guesses_from_one_address_delay_nobody_else(service: Service) -> None:
    """In one queue somebody else's check would come after all of them."""
    bob = service.visitor("bob")
    names = [f"pupil{number}" for number in range(300)]
    flood = threading.Thread(
        target=guesses, args=(service, f"https://{NAME}/hub/login", names, 300)
    )
    flood.start()
    try:
        # its forms are fetched, its passwords wait
        time.sleep(15)
        bob.log_in(PASSWORD)
        assert flood.is_alive()
    finally:
        flood.join()
    service.check_works()
