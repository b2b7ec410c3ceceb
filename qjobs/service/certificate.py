"""The service's own certificate: made once, kept, and valid for this machine's own addresses."""

from __future__ import annotations

import ipaddress
import logging
import os
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

logger = logging.getLogger(__name__)

_LIFETIME = timedelta(days=3650)
_RENEW_BEFORE_END = timedelta(days=7)
_NAMES = ("127.0.0.1", "::1", "localhost")


def ensure_certificate(folder: Path, host: str, now: datetime | None = None) -> tuple[Path, Path]:
    """The paths of the certificate and of its key.

    An existing pair is kept. A new one is made when there is none, when it ends within a week, when key and
    certificate do not belong together, or when the certificate does not name the host.
    """
    now = now or datetime.now(UTC)
    certificate = folder / "cert.pem"
    key = folder / "key.pem"
    names = list(dict.fromkeys((*_NAMES, *([] if host in {"", "0.0.0.0", "::"} else [host]))))  # noqa: S104
    if not _usable(certificate, key, names, now):
        _make(certificate, key, names, now)
        logger.info("made a certificate for %s: %s", ", ".join(names), certificate)
    return certificate, key


def write_private(path: Path, content: bytes) -> None:
    """Write a file that nobody else may read: all of it, or nothing."""
    new = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _usable(certificate: Path, key: Path, names: list[str], now: datetime) -> bool:
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
        secret = serialization.load_pem_private_key(key.read_bytes(), password=None)
        named = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (FileNotFoundError, ValueError, TypeError, x509.ExtensionNotFound):
        return False
    if key.stat().st_mode & 0o077:
        key.chmod(0o600)
    return (
        found.public_key() == secret.public_key()
        and found.not_valid_before_utc <= now <= found.not_valid_after_utc - _RENEW_BEFORE_END
        and all(_name(name) in named for name in names)
    )


def _make(certificate: Path, key: Path, names: list[str], now: datetime) -> None:
    secret = ec.generate_private_key(ec.SECP256R1())
    public = secret.public_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "qjobs serve")])
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectAlternativeName([_name(name) for name in names]), critical=False)
        # It is its own authority, so that SSL_CERT_FILE can name it.
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
    )
    signed = builder.sign(secret, hashes.SHA256())
    write_private(
        key,
        secret.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )
    write_private(certificate, signed.public_bytes(serialization.Encoding.PEM))
    certificate.chmod(0o644)
