"""Programs that run on lab hosts and in users' servers, to see who reaches whom."""

from __future__ import annotations

import json

from tests.kit.hub_client import Kernel

# Listens on the ports that its arguments name, on all addresses.
LISTEN = """
import asyncio, sys
async def main():
    for port in map(int, sys.argv[1:]):
        await asyncio.start_server(lambda reader, writer: writer.close(), "::", port)
        await asyncio.start_server(lambda reader, writer: writer.close(), "0.0.0.0", port)
    await asyncio.Event().wait()
asyncio.run(main())
"""

# Notes "SOURCE DESTINATION" of every IPv4 packet that arrives, once.
NOTE_ARRIVALS = """
import socket, sys
packets, seen = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800)), set()
while True:
    packet, origin = packets.recvfrom(65535)
    pair = socket.inet_ntoa(packet[12:16]) + " " + socket.inet_ntoa(packet[16:20])
    if origin[2] != socket.PACKET_OUTGOING and pair not in seen:
        seen.add(pair)
        print(pair, flush=True)
"""

# Reads [[address, port], ...], prints whether each is open, refused or silent for 3 seconds.
PROBE = """
import asyncio, json, resource, sys
async def probe(address, port):
    try:
        connection = asyncio.open_connection(address, port)
        (await asyncio.wait_for(connection, 3))[1].close()
        return "open"
    except (TimeoutError, asyncio.TimeoutError):
        return "silent"
    except OSError:
        return "refused"
async def main():
    print(json.dumps(await asyncio.gather(*[probe(*pair) for pair in json.load(sys.stdin)])))
resource.setrlimit(resource.RLIMIT_NOFILE, (8192, 8192))
asyncio.run(main())
"""

Target = tuple[str, int]


def reach(kernel: Kernel, *targets: Target) -> dict[Target, str]:
    """Which targets the kernel of a user's server finds open, and which closed.

    A rejection may be silent: the kernel limits the rate of its ICMP answers (icmp(7)).
    """
    code = (
        "import subprocess, sys; print(subprocess.run([sys.executable, '-c', "
        f"{PROBE!r}], input={json.dumps(targets)!r}, capture_output=True, text=True).stdout)"
    )
    answers = json.loads(kernel.run(code))
    found = zip(targets, answers, strict=True)
    return {target: "open" if answer == "open" else "closed" for target, answer in found}


# Tries every TCP port from 2 of the IPv4 addresses that its arguments name, as root: prints, for
# each address, which ports answer, and how. A busy bridge drops packets: ports that are likely to
# answer are tried twice. The RST afterwards lets connection tracking forget them.
SCAN = """
import json, socket, struct, sys, time
OURS, SYN, RST, HOW = 1, 2, 4, {18: "open", 20: "refused"}
def scan(address):
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.connect((address, 9))
    ends = socket.inet_aton(udp.getsockname()[0]) + socket.inet_aton(address)
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    raw.setblocking(False)
    found = {}
    def listen():
        while True:
            try:
                packet = raw.recv(65535)
            except BlockingIOError:
                return
            start = (packet[0] & 15) * 4
            source, target = struct.unpack("!HH", packet[start : start + 4])
            if packet[12:16] == ends[4:] and target == OURS and packet[start + 13] in HOW:
                found[source] = HOW[packet[start + 13]]
    for flags, last in ((SYN, 65535), (SYN, 9999), (RST, 65535)):
        fixed = (OURS, 0, 7, 0, 5 << 12 | flags, 1024, 0, 0)
        words = struct.unpack("!10H", struct.pack("!HHLLHHHH", *fixed))
        total = sum(words) + sum(struct.unpack("!4H", ends)) + 6 + 20
        for port in range(2, last + 1):
            check = total + port
            while check >> 16:
                check = (check & 65535) + (check >> 16)
            packet = struct.pack("!HHLLHHHH", OURS, port, *fixed[2:6], check ^ 65535, 0)
            raw.sendto(packet, (address, 0))
            if port % 128 == 0:
                listen()
                time.sleep(0.001)
        time.sleep(0.5)
        listen()
    return found
print(json.dumps({address: scan(address) for address in sys.argv[1:]}))
"""
