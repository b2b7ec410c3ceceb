"""What is left out of the words of others."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import NOW, a_spec, observe, sent, whole

from qjobs.backends.base import ItemSnapshot, Snapshot
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.redaction import LONGEST, bounded, kept, redacted

S = JobStatus
SECRET = "s3cr3t-0123456789.abc_DEF"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {SECRET}",
        f"authorization=Basic {SECRET}",
        f"proxy-authorization: Digest username=u, response={SECRET}",
        f"{{'Authorization': 'Token {SECRET}', 'Accept': '*/*'}}",
        f'{{"authorization": "{SECRET}"}}',
        f"(b'authorization', b'Bearer {SECRET}')",
        f"the token was bearer {SECRET} and it is over",
        f"Cookie: session={SECRET}; other=1",
        f"set-cookie: myqos_id={SECRET}; HttpOnly; Path=/",
        f"{{'cookie': 'a=b; myqos_oat={SECRET}'}}",
        f"GET https://me:{SECRET}@host.test/jobs",
        f"postgresql+psycopg://qjobs:{SECRET}@host/db cannot be reached",
        f"POST /token?refresh_token={SECRET}&x=1",
        f'{{"access_token": "{SECRET}", "expires_in": 3600}}',
        f"api_key={SECRET}",
        f"password: {SECRET}",
    ],
)
def test_secrets(text: str) -> None:
    """Credentials in headers, URLs, forms and bodies are left out, and the words around them stay."""
    clean = redacted(f"before; status 401\n{text}\nafter")
    assert SECRET not in clean
    assert "s3cr3t" not in clean
    assert clean.startswith("before; status 401\n")
    assert clean.endswith("\nafter")
    assert redacted(clean) == clean


@pytest.mark.parametrize("text", [JWT, f"token {JWT} expired", f"x={JWT}"])
def test_jwt(text: str) -> None:
    """A token of three parts is known by its form."""
    clean = redacted(text)
    assert JWT[-20:] not in clean
    assert "[redacted]" in clean


@pytest.mark.parametrize(
    "text",
    [
        "",
        "the circuit has 12 qubits and the device 11",
        "see https://nexus.quantinuum.com/jobs/1234?page=2#x",
        "the bearer of this is known",
        "authorization failed",
        "no cookies were sent",
        "at 12:30:45 line 3: error in gate rz(0.5) q[1]@host",
        "your token has expired; the password is wrong",
    ],
)
def test_plain_words(text: str) -> None:
    """Words without a secret stay as they are."""
    assert redacted(text) == text


@given(st.text(alphabet=st.sampled_from("aA1:= \n\"'@/.,;{}&") | st.characters(), max_size=80))
def test_twice(text: str) -> None:
    """To leave out what is secret once is enough, whatever the text."""
    noisy = f"Cookie: {text} Bearer {text} https://u:{text}@h password={text}"
    assert redacted(redacted(noisy)) == redacted(noisy)


@given(st.text(max_size=200), st.integers(60, 120))
def test_bounded(text: str, most: int) -> None:
    """A text that is too long begins as it did, and says that it was cut; it is cut once."""
    short = bounded(text, most)
    assert len(short) <= max(most, 0)
    assert bounded(short, most) == short
    assert short == text or short.endswith(f"[cut: it had {len(text)} characters]")


def test_fast() -> None:
    """Megabytes of anything take no time that anybody notices."""
    for part in ("a", "x://", "cookie:", "eyJ", "bearer ", "a:b@", "password='"):
        started = time.monotonic()
        assert len(kept(part * 500_000)) <= LONGEST
        assert time.monotonic() - started < 2.0


def test_in_the_ledger(ledger: Ledger) -> None:
    """What a provider says is redacted and cut wherever the ledger keeps it, and the same again is no change."""
    job_id, attempt = sent(ledger)
    words = f"Authorization: Bearer {SECRET}\n" + "x" * 3_000_000
    item = ItemSnapshot(status=S.ERROR, message=words, error_detail=words)
    snapshot = Snapshot(status=S.ERROR, remote_status=words, message=words, items=(item, item))
    for _ in range(2):
        observe(ledger, job_id, attempt.number, snapshot, now=NOW)
    ledger.schedule.set_next({job_id: None}, trouble=words)
    ledger.record_event(job_id, "trouble", words, now=NOW)
    job = ledger.job(job_id)
    (known,) = ledger.attempts(job_id)
    kept = [job.message, job.trouble, known.message, known.remote_status]
    kept += [each.message for each in ledger.items(job_id)] + [each.error_detail for each in ledger.items(job_id)]
    kept += [event.detail for event in ledger.events(job_id)][-2:]
    for text in kept:
        assert "s3cr3t" not in text
        assert 3_000 < len(text) <= LONGEST
    ledger.create([a_spec("another")], now=NOW)


def test_in_the_log(ledger: Ledger, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log has as little of it as the ledger."""
    import logging

    monkeypatch.setattr(logging.getLogger("qjobs"), "propagate", True)
    caplog.set_level(logging.INFO, logger="qjobs")
    job_id, attempt = sent(ledger)
    observe(ledger, job_id, attempt.number, whole(S.ERROR, f"Bearer {SECRET}"), now=NOW)
    ledger.record_event(job_id, "trouble", f"Cookie: {SECRET}", now=NOW)
    assert "s3cr3t" not in caplog.text
    assert "[redacted]" in caplog.text
