"""A guard between the URLs of a list, which strangers wrote, and the network that this machine is in.

    install(Guard())     guards every urllib request of this process from now on, img2dataset's among them

Refused are all schemes but http and https (urllib would also read local files), and all addresses that are
not public: loopback, link-local (a cloud's metadata service), private, shared and multicast ones. Networks in
`allowed` count as public. The guard checks the very address that it then connects to. So it cannot be passed
by a redirect, by a name that resolves to 127.0.0.1, by a name that resolves to another address the second
time, or by 0x7f.1.

A response is bounded in bytes and in seconds as a whole. urllib's own time-out is for one read: a server that
sends one byte at a time would hold a thread for ever.

Not covered: host names are looked up before they are refused; networks that use public addresses inside;
transparent proxies. Proxies named in the environment are not used, as the guard could not see where they
connect.
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

MOST_BYTES = 32 << 20  # of a response; memory holds up to twice as many responses as there are threads
SAFE = "!#$%&'()*+,/:;=?@[]~"  # characters of a URL besides letters, digits and -._ (RFC 3986)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

NAT64 = ipaddress.ip_network("64:ff9b::/96")
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "::1/128", "fc00::/7")
HIDDEN = ipaddress.ip_address("168.63.129.16")  # Azure's own service behind a public address


@dataclass(frozen=True)
class Guard:
    """Which addresses may be connected to, and the bounds of a response.

    allowed     networks such as 10.0.0.0/8 that count as public
    seconds     from the connection to the last byte
    size        bytes, headers included
    """

    allowed: tuple[Network, ...] = ()
    seconds: float = 60.0
    size: int = MOST_BYTES

    def connect(self, host: str, port: int, timeout: float | None) -> "Bounded":
        """A connection to the first address of a host that is allowed and answers. Raises OSError."""
        error = OSError(f"no address for {host}")
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            if not self.allows(str(address[0])):
                error = PermissionError(f"address {address[0]} of {host} is not public")
                continue
            connection = Bounded(family, kind, protocol)
            try:
                connection.settimeout(timeout)
                connection.connect(address)
                connection.bound(self, timeout)
                return connection
            except OSError as failure:
                connection.close()
                error = failure
        raise error

    def names(self) -> list[str]:
        """The allowed networks as text, each once, in order."""
        return sorted({str(network) for network in self.allowed})

    def allows(self, address: str) -> bool:
        """Whether an address is public, or in an allowed network."""
        ip = _innermost(ipaddress.ip_address(address.partition("%")[0]))
        if any(ip in network for network in self.allowed):
            return True
        unfit = ip.is_multicast or ip.is_reserved or (ip.version == 6 and ip.is_site_local) or ip == HIDDEN
        return ip.is_global and not unfit


def _innermost(ip: Address) -> Address:
    """The IPv4 address inside a NAT64, mapped or 6to4 IPv6 address; any other address as it is."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip in NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or ip


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Parse networks such as 10.0.0.0/8, and single addresses. Raises ValueError, which names the text."""
    return tuple(ipaddress.ip_network(text) for text in texts)


class _Limits:
    """A socket that raises when a response takes more time or bytes than the guard allows."""

    deadline = size = float("inf")
    guard = Guard()
    timeout_of_read: float | None = None

    def bound(self, guard: Guard, timeout: float | None) -> None:
        """Start the clock; `timeout` bounds each read, in seconds."""
        self.guard = guard
        self.timeout_of_read = timeout
        self.deadline = time.monotonic() + guard.seconds
        self.size = guard.size

    def recv_into(self, *arguments: Any) -> int:
        """See socket.socket. http.client reads by this method alone."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"timed out: not done after {self.guard.seconds:g} s")
        timeout = left if self.timeout_of_read is None else min(left, self.timeout_of_read)
        self.settimeout(timeout)  # type: ignore[attr-defined]
        count: int = super().recv_into(*arguments)  # type: ignore[misc]
        self.size -= count
        if self.size < 0:
            raise OSError(f"response is larger than {self.guard.size:,} bytes")
        return count


class Bounded(_Limits, socket.socket):
    """A TCP connection with limits."""


class BoundedTls(_Limits, ssl.SSLSocket):
    """A TLS connection with limits."""


def install(guard: Guard) -> None:
    """Make the guarded opener the one that urllib.request.urlopen uses in this process."""
    urllib.request.install_opener(opener(guard))


def opener(guard: Guard) -> urllib.request.OpenerDirector:
    """An opener for http and https alone. Redirects go through it too."""
    director = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.UnknownHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Handler(guard),
    ):
        director.add_handler(handler)
    return director


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

        class Https(HTTPSConnection, Http):  # HTTPSConnection.connect wraps the socket of Http.connect in TLS
            def connect(self) -> None:
                super().connect()
                assert isinstance(self.sock, BoundedTls)
                self.sock.bound(guard, self.timeout)

        self.http, self.https = Http, Https

    def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
        """Escape spaces and letters beyond ASCII, which browsers accept in a URL and http.client does not."""
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
    """The URL in ASCII: its host in IDNA, spaces and other letters as %XX. Escapes stay as they are."""
    parts = urlsplit(url)
    host = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode()
    rest = (quote(part, SAFE) for part in (parts.path, parts.query, parts.fragment))
    return urlunsplit((parts.scheme, host, *rest))
