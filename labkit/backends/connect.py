"""Opening the official OpenAI client safely: what leaves this machine, and what does not."""

from __future__ import annotations

import ipaddress
import os
from urllib.parse import urlsplit

import openai

from labkit.config import Settings
from labkit.errors import OfflineError

CONNECT_S = 5.0


def is_local(url: str) -> bool:
    """Whether a URL points at this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def require_reachable(url: str, settings: Settings) -> None:
    """Refuse other machines where the network is switched off.

    Raises:
        OfflineError: It is, and this is one.
    """
    if settings.offline and not is_local(url):
        raise OfflineError(
            f"{url} is on another machine, and the network is switched off.",
            "Unset LABKIT_OFFLINE, or use a server on 127.0.0.1.",
        )


def connect(url: str, settings: Settings, *, retries: int, patience_s: float) -> openai.OpenAI:
    """A client for one address; nothing is sent yet. The key goes over https, or to this machine, never in clear elsewhere.

    Raises:
        OfflineError: The address is elsewhere, and the network is switched off.
    """
    require_reachable(url, settings)
    local = is_local(url)
    key = os.environ.get("OPENAI_API_KEY") if local or url.startswith("https:") else None
    return openai.OpenAI(
        base_url=url,
        api_key=key or "none",
        max_retries=retries,
        timeout=openai.Timeout(patience_s, connect=CONNECT_S),
        # a proxy cannot reach this machine, and a server here must not send us on to another one
        http_client=openai.DefaultHttpxClient(trust_env=not local, follow_redirects=not local),
    )
