"""What tests say about answers over HTTP."""

from __future__ import annotations

import httpx

__all__ = ["me", "only", "refused"]


def only(name: str, value: str) -> dict[str, str]:
    """Headers with this cookie alone."""
    return {"cookie": f"{name}={value}"}


def me(client: httpx.Client, headers: dict[str, str] | None = None) -> int:
    """The status code of asking who is signed in."""
    return client.get("/api/users/v1beta2/me", headers=headers).status_code


def refused(answer: httpx.Response, *codes: int) -> str:
    """The message of an answer, which has one of these status codes and says nothing else."""
    assert answer.status_code in codes, (answer.status_code, answer.text)
    body = answer.json()
    assert list(body) == ["message"]
    assert isinstance(body["message"], str)
    assert body["message"]
    return body["message"]
