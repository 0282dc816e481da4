"""Which addresses a webhook may go to: none that is not public, unless the settings name it.

A name is resolved anew before every attempt, every address it has must be allowed, and the connection goes to one that
was looked at, so that a name that answers otherwise a moment later (rebinding) reaches nothing.
"""

import ipaddress
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve: TypeAlias = Callable[[str, int], Sequence[str]]

# IPv6 prefixes with an IPv4 address inside, and where in it (RFC 6052, RFC 3056; IPv4-mapped has its own attribute).
_NAT64: Final = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))


class AddressRefused(ValueError):
    """The name `host` leads to `address`, to which nothing is sent."""

    def __init__(self, host: str, address: str) -> None:
        super().__init__(f"{host} is {address}, which is not a public address: nothing is sent there")
        self.host, self.address = host, address


def resolve(host: str, port: int) -> list[str]:
    """All addresses of a name. Raises: OSError."""
    return sorted({str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)})


def allowed_address(host: str, port: int, allow: Sequence[Network], look_up: Resolve = resolve) -> str:
    """Return the address to connect to. Raises: AddressRefused if the name has one that is not allowed; OSError."""
    found = look_up(host, port)
    if not found:
        raise OSError(f"{host} has no address")
    for text in found:
        address = ipaddress.ip_address(text.partition("%")[0])
        if not (is_public(address) or any(address in network for network in allow)):
            raise AddressRefused(host, text)
    return found[0]


def is_public(address: Address) -> bool:
    """Whether it, and the IPv4 address that may be inside it, is of the public internet."""
    return all(each.is_global and not each.is_multicast and not each.is_reserved for each in _inside(address))


def _inside(address: Address) -> Iterator[Address]:
    if isinstance(address, ipaddress.IPv4Address):
        yield address
    elif address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    elif any(address in network for network in _NAT64):
        yield ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    else:
        yield address
        if address.sixtofour is not None:
            yield address.sixtofour
        if address.teredo is not None:
            yield from address.teredo
