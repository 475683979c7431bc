"""What stands between a list of strangers' URLs and the network this machine is in.

    install(Guard())     every urllib request of this process from now on, img2dataset's among them

Refused: every scheme but http and https (urllib itself would read file:///etc/passwd), and every address
that is not public, loopback, link-local (a cloud's metadata), private, shared and multicast ones, unless
it lies in an allowed network. What is checked is the address that is then connected to, so neither a
redirect, nor a name that resolves to 127.0.0.1, nor one that resolves to something else the second time,
nor 0x7f.1 gets around it. A response is bounded in bytes and in seconds as a whole: urllib's time-out is
for one read, and a server that sends a byte at a time holds a thread for ever.

Not covered: names are looked up all the same; networks that use public addresses inside; what a
transparent proxy does. Proxies of the environment are not used: they would connect where nothing is seen.
"""

import ipaddress
import socket
import ssl
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

MOST_BYTES = 32 << 20  # of a response; twice as many as threads are in memory at a time
SAFE = "!#$%&'()*+,/:;=?@[]~"  # what a URL may hold besides letters, digits and -._ (RFC 3986)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

NAT64 = ipaddress.ip_network("64:ff9b::/96")
HIDDEN = ipaddress.ip_address("168.63.129.16")  # Azure's own service behind a public address


@dataclass(frozen=True)
class Guard:
    """What is let through. `allowed`: networks such as 10.0.0.0/8 that count as public; `seconds`, `size`:
    of a response, from the connection on, headers and all."""

    allowed: tuple[Network, ...] = ()
    seconds: float = 60.0
    size: int = MOST_BYTES

    def connect(self, host: str, port: int, timeout: float | None) -> "Bounded":
        """A connection to the first address of a host that is allowed and answers. Raises OSError."""
        error = OSError(f"no address for {host}")
        for family, kind, protocol, _, place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            if not self.allows(str(place[0])):
                error = PermissionError(f"address {place[0]} of {host} is not public")
                continue
            made = Bounded(family, kind, protocol)
            try:
                made.settimeout(timeout)
                made.connect(place)
                made.bound(self, timeout)
                return made
            except OSError as failed:
                made.close()
                error = failed
        raise error

    def allows(self, address: str) -> bool:
        """Whether an address is public, or in an allowed network."""
        ip = _innermost(ipaddress.ip_address(address.partition("%")[0]))
        if any(ip in network for network in self.allowed):
            return True
        unfit = ip.is_multicast or ip.is_reserved or (ip.version == 6 and ip.is_site_local) or ip == HIDDEN
        return ip.is_global and not unfit


def _innermost(ip: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, if it stands for one."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip in NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or ip


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Networks as 10.0.0.0/8 or single addresses. Raises ValueError, which names the one that is none."""
    return tuple(ipaddress.ip_network(text) for text in texts)


class _Limits:
    """A socket whose reads end when the time or the bytes of a response are used up."""

    deadline = size = float("inf")
    guard = Guard()
    timeout_of_read: float | None = None

    def bound(self, guard: Guard, timeout: float | None) -> None:
        """Start the clock."""
        self.guard, self.timeout_of_read = guard, timeout
        self.deadline, self.size = time.monotonic() + guard.seconds, guard.size

    def recv_into(self, *arguments: Any) -> int:
        """See socket.socket. http.client reads by this method alone."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"timed out: not done after {self.guard.seconds:g} s")
        self.settimeout(left if self.timeout_of_read is None else min(left, self.timeout_of_read))  # type: ignore[attr-defined]
        count: int = super().recv_into(*arguments)  # type: ignore[misc]
        self.size -= count
        if self.size < 0:
            raise OSError(f"response is larger than {self.guard.size:,} bytes")
        return count


class Bounded(_Limits, socket.socket):
    """A TCP connection with limits."""


class BoundedTls(_Limits, ssl.SSLSocket):
    """The same inside TLS."""


def install(guard: Guard) -> None:
    """Make the guarded opener the one that urllib.request.urlopen uses in this process."""
    urllib.request.install_opener(opener(guard))


def opener(guard: Guard) -> urllib.request.OpenerDirector:
    """An opener of http and https alone; redirects go through it too."""
    made = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.UnknownHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Handler(guard),
    ):
        made.add_handler(handler)
    return made


class _Handler(urllib.request.AbstractHTTPHandler):
    """http and https over guarded connections."""

    def __init__(self, guard: Guard) -> None:
        super().__init__()
        context = ssl.create_default_context()
        context.sslsocket_class = BoundedTls
        self.context = context

        class Http(HTTPConnection):
            def connect(self) -> None:
                self.sock = guard.connect(self.host, self.port, self.timeout)

        class Https(HTTPSConnection, Http):  # whose connect wraps what Http.connect has made
            def connect(self) -> None:
                super().connect()
                assert isinstance(self.sock, BoundedTls)
                self.sock.bound(guard, self.timeout)

        self.http, self.https = Http, Https

    def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
        """Browsers take spaces and letters beyond ASCII in a URL; http.client does not."""
        request.full_url = ascii_url(request.full_url)
        return self.do_request_(request)

    https_request = http_request

    def http_open(self, request: urllib.request.Request) -> HTTPResponse:
        """See urllib.request.HTTPHandler."""
        return self.do_open(self.http, request)

    def https_open(self, request: urllib.request.Request) -> HTTPResponse:
        """See urllib.request.HTTPSHandler."""
        return self.do_open(self.https, request, context=self.context)


def ascii_url(url: str) -> str:
    """The URL with its host in IDNA and what else is no ASCII, or a space, as %XX; an escape stays as it is."""
    parts = urlsplit(url)
    host = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode()
    rest = (quote(part, SAFE) for part in (parts.path, parts.query, parts.fragment))
    return urlunsplit((parts.scheme, host, *rest))
