"""Where the variables of Quantinuum's client point, and whose certificates are trusted there."""

from __future__ import annotations

import pytest

from qjobs.backends.nexus.tokens import address_in_environment

VARIABLES = ("NEXUS_PROTOCOL", "NEXUS_PORT", "NEXUS_DOMAIN", "NEXUS_HOST", "NEXUS_HTTPX_VERIFY", "SSL_CERT_FILE")


@pytest.mark.parametrize(
    ("domain", "given", "verify"),
    [
        ("127.0.0.1", None, False),
        ("localhost", None, False),
        ("127.0.0.1", "https://[::1]:8470", False),
        ("nexus.quantinuum.com", None, True),
        ("127.0.0.1.evil.test", None, True),
        ("127.0.0.1", "https://lab.example", True),
    ],
)
def test_verification_is_never_off_elsewhere(
    monkeypatch: pytest.MonkeyPatch, domain: str, given: str | None, verify: bool
) -> None:
    """A variable of another program switches the check off at this machine's own addresses alone."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NEXUS_DOMAIN", domain)
    assert address_in_environment(given)[1] is True
    monkeypatch.setenv("NEXUS_HTTPX_VERIFY", "false")
    assert address_in_environment(given) == (given or f"https://{domain}", verify)
    monkeypatch.setenv("SSL_CERT_FILE", "/lab/cert.pem")
    assert address_in_environment(given)[1] == (verify and "/lab/cert.pem")
