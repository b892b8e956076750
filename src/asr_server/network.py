"""Find the addresses under which machines of the local network reach this one."""

import ipaddress
import socket
from urllib.parse import quote

SOMEWHERE = "192.0.2.1"
"""An address of no machine (RFC 5737); connecting a UDP socket to it sends nothing."""


def lan_addresses() -> list[str]:
    """Return this machine's IPv4 addresses, that of the default route first; none of loopback."""
    found = [_address_towards(SOMEWHERE)]
    try:
        found += socket.gethostbyname_ex(socket.gethostname())[2]
    except OSError:  # the name is in no table
        pass
    return [address for address in dict.fromkeys(found) if address and not _is_local(address)]


def host_names() -> list[str]:
    """Return the names under which machines of the network may know this one, by mDNS too."""
    name = socket.gethostname().lower()
    if not name or name == "localhost":
        return []
    return [name] if "." in name else [name, f"{name}.local"]


def page_url(address: str, port: int, *, tls: bool, key: str = "") -> str:
    """Return the URL of the demo page; a key goes into the fragment, which no browser sends."""
    host = f"[{address}]" if ":" in address else address
    return f"http{'s' * tls}://{host}:{port}/" + (f"#key={quote(key, safe='')}" if key else "")


def _address_towards(target: str) -> str:
    """Return the address from which packets to a target leave, or nothing without a route."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((target, 9))
        except OSError:
            return ""
        return str(probe.getsockname()[0])


def _is_local(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    return parsed.is_loopback or parsed.is_unspecified
