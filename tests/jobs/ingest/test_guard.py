"""The guard before the network: which addresses pass, by whichever way a URL leads to them."""

import shutil
import socket
import ssl
import subprocess
import threading
import time
from http.client import HTTPException
from http.server import HTTPServer
from ipaddress import ip_network
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest

from jobs.ingest.guard import Guard, ascii_url, install, networks, opener
from tests.support.web_server import Handler, photo, web

LOOPBACK = Guard(networks(["127.0.0.1"]))
PUBLIC = ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"]
PRIVATE = [
    *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
    *("169.254.169.254", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.2.1", "198.18.0.1"),
    *("224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
    *(
        "::1",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",
        "fec0::1",
        "ff02::1",
        "2001:db8::1",
    ),
    *(
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "2002:7f00:1::1",
    ),
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_pass(address):
    assert Guard().allows(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_others_do_not(address):
    assert not Guard().allows(address)


def test_a_network_is_allowed_by_name_and_nothing_else_with_it():
    guard = Guard(networks(["10.0.0.0/8", "::1"]))
    assert guard.allowed == (ip_network("10.0.0.0/8"), ip_network("::1/128"))
    found = [
        guard.allows(a) for a in ("10.9.9.9", "::ffff:10.0.0.1", "::1", "127.0.0.1", "11.0.0.1", "fd00::1")
    ]
    assert found == [True, True, True, False, True, False]
    with pytest.raises(ValueError, match=r"10\.0\.0\.1/8 has host bits set"):
        networks(["10.0.0.1/8"])


SPELLINGS = [
    *("127.0.0.1", "localhost", "LOCALHOST", "127.1", "127.000.000.001", "2130706433"),
    *("0x7f.1", "0x7f000001", "0177.0.0.1", "017700000001"),
    "１２７.０.０.１",  # noqa: RUF001 - fullwidth digits, which IDNA turns into ASCII
]
NOWHERE = ["0", "localhost.", "user:word@127.0.0.1", "127.0.0.1#@8.8.8.8", "127.0.0.1%00.example"]


@pytest.mark.parametrize("host", SPELLINGS)
def test_loopback_in_any_spelling(host):
    with web() as (base, hits):
        url = f"http://{host}:{base.rpartition(':')[2]}/photo/1"
        with pytest.raises(URLError, match="is not public"):
            opener(Guard()).open(url, timeout=5)
        assert not hits
        assert opener(LOOPBACK).open(url, timeout=5).read() == photo(1)


@pytest.mark.parametrize("host", NOWHERE)
def test_spellings_that_lead_nowhere(host):
    with web() as (base, hits):
        with pytest.raises((OSError, HTTPException, ValueError)):
            opener(Guard()).open(f"http://{host}:{base.rpartition(':')[2]}/photo/1", timeout=5)
        assert not hits


def test_a_name_that_resolves_inside(monkeypatch):
    def resolve(host, port, **_):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    addresses = ["10.0.0.1"]
    with pytest.raises(URLError, match=r"address 10\.0\.0\.1 of pictures\.example is not public"):
        opener(LOOPBACK).open("http://pictures.example/1.jpg", timeout=1)
    addresses = ["10.0.0.1", "127.0.0.1"]  # what is connected to is what was checked
    with web() as (base, _):
        url = f"http://pictures.example:{base.rpartition(':')[2]}/photo/2"
        assert opener(LOOPBACK).open(url, timeout=5).read() == photo(2)


INSIDE = [
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "::1",
    "fe80::1",
]


@pytest.mark.parametrize("address", INSIDE)
def test_loopback_inside_an_ipv6_address(address):
    with web() as (base, hits):
        with pytest.raises(URLError, match=r"is not public|Network is unreachable"):
            opener(Guard()).open(f"http://[{address}]:{base.rpartition(':')[2]}/photo/1", timeout=5)
        assert not hits


def test_a_name_that_resolves_to_another_address_each_time(monkeypatch):
    answers = ["127.0.0.1", "10.0.0.1", "169.254.169.254"]
    asked = []

    def resolve(host, port, **_):
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers[len(asked) - 1], port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with web() as (base, _):
        url = f"http://rebinding.example:{base.rpartition(':')[2]}/photo/2"
        assert opener(LOOPBACK).open(url, timeout=5).read() == photo(2)
        assert asked == ["rebinding.example"]  # the address that was checked is the one connected to
        with pytest.raises(URLError, match=r"address 10\.0\.0\.1 of rebinding\.example is not public"):
            opener(LOOPBACK).open(url, timeout=5)


def test_redirects_are_followed_to_public_addresses_alone():
    with web() as (base, _):
        assert opener(LOOPBACK).open(f"{base}/moved/3", timeout=5).read() == photo(3)
        with pytest.raises(URLError, match=r"address 169\.254\.169\.254 of 169\.254\.169\.254 is not public"):
            opener(LOOPBACK).open(f"{base}/inside/3", timeout=5)
        with pytest.raises(HTTPError, match="404"):
            opener(LOOPBACK).open(f"{base}/missing/3", timeout=5)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:text/plain,x"])
def test_no_scheme_but_http(url):
    with pytest.raises(URLError, match="unknown url type"):
        opener(Guard()).open(url)


def test_installed_it_is_what_urlopen_uses(monkeypatch):
    monkeypatch.setattr("urllib.request._opener", None)
    install(Guard())
    with pytest.raises(URLError, match="unknown url type"):
        urlopen("file:///etc/passwd")


def test_proxies_of_the_environment_are_not_used(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with web() as (base, _):
        assert opener(LOOPBACK).open(f"{base}/photo/4", timeout=5).read() == photo(4)


def test_a_response_is_bounded_in_time_and_size():
    with web() as (base, _):
        patient = Guard(LOOPBACK.allowed, seconds=0.5)
        started = time.monotonic()
        with pytest.raises(TimeoutError, match=r"timed out"):
            opener(patient).open(f"{base}/drip/1", timeout=10).read()
        assert time.monotonic() - started < 10  # the server drips for twenty seconds
        small = Guard(LOOPBACK.allowed, size=100_000)
        with pytest.raises(OSError, match="response is larger than 100,000 bytes"):
            opener(small).open(f"{base}/endless/1", timeout=5).read()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_tls_has_the_same_bounds(tmp_path, monkeypatch):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {key} -out {certificate} -days 1 -subj /CN=localhost"
    made = [*make.split(), "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(made, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = HTTPServer(("127.0.0.1", 0), type("Web", (Handler,), {"hits": {}, "do_GET": Handler.answer}))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        base = f"https://localhost:{server.server_port}"
        with pytest.raises(URLError, match="CERTIFICATE_VERIFY_FAILED"):
            opener(LOOPBACK).open(f"{base}/photo/5", timeout=5)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert opener(LOOPBACK).open(f"{base}/photo/5", timeout=5).read() == photo(5)
        with pytest.raises(OSError, match="response is larger than 100,000 bytes"):
            opener(Guard(LOOPBACK.allowed, size=100_000)).open(f"{base}/endless/1", timeout=5).read()
        with pytest.raises(URLError, match="is not public"):
            opener(Guard()).open(f"{base}/photo/5", timeout=5)
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://a.b/c d?e=f g#h", "http://a.b/c%20d?e=f%20g#h"),
        ("http://a.b/ü/%C3%BC", "http://a.b/%C3%BC/%C3%BC"),
        ("http://bücher.example/x", "http://xn--bcher-kva.example/x"),
        ("http://a.b/c?x=[1]&y=%2F+;~", "http://a.b/c?x=[1]&y=%2F+;~"),
        ("", ""),
    ],
)
def test_urls_as_browsers_send_them(url, expected):
    assert ascii_url(url) == expected
