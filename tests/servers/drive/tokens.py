"""The OAuth token endpoint: refresh tokens, authorization codes, service accounts."""

from __future__ import annotations

import base64
import itertools
import json
import threading
from typing import Any

from tests.servers.drive.errors import ApiError

JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class Tokens:
    """Which access tokens are good, and who may have a new one."""

    def __init__(self) -> None:
        self.client_id = "fake-client-id.apps.example.org"
        self.client_secret = "fake-client-secret"  # an obvious fake
        self.refresh_token = "fake-refresh-token"
        self.code = "fake-code"
        self.service_account = "robot@fake-project.example.org"
        self.public_key: Any = None  # of the service account; a key object of `cryptography`
        self.revoked = False
        self.issued = 0
        self._good: set[str] = set()
        self._count = itertools.count(1)
        self._lock = threading.Lock()

    def issue(self) -> str:
        with self._lock:
            token = f"fake-access-token-{next(self._count)}"
            self._good.add(token)
            return token

    def expire(self) -> None:
        """Let every access token that was given out go stale."""
        with self._lock:
            self._good.clear()

    def check(self, header: str | None) -> None:
        if not header or header.removeprefix("Bearer ") not in self._good:
            raise ApiError(401, "authError", "Invalid Credentials")

    def answer(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        grant = form.get("grant_type")
        if self.revoked:
            return 400, {"error": "invalid_grant", "error_description": "Token was revoked."}
        if grant == JWT_GRANT:
            problem = self._check_assertion(form.get("assertion", ""))
        elif (form.get("client_id"), form.get("client_secret")) != (
            self.client_id,
            self.client_secret,
        ):
            return 401, {"error": "invalid_client"}
        elif grant == "refresh_token":
            problem = form.get("refresh_token") != self.refresh_token
        elif grant == "authorization_code":
            problem = form.get("code") != self.code or not form.get("redirect_uri")
        else:
            return 400, {"error": "unsupported_grant_type"}
        if problem:
            return 400, {"error": "invalid_grant"}
        self.issued += 1
        answer = {"access_token": self.issue(), "expires_in": 3600, "token_type": "Bearer"}
        if grant == "authorization_code":
            answer["refresh_token"] = self.refresh_token
        return 200, answer

    def _check_assertion(self, assertion: str) -> bool:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding

        head, payload, signature = assertion.split(".")
        self.public_key.verify(
            _unpack(signature), f"{head}.{payload}".encode(), padding.PKCS1v15(), hashes.SHA256()
        )
        claims = json.loads(_unpack(payload))
        return bool(
            claims["iss"] != self.service_account
            or claims["scope"] != "https://www.googleapis.com/auth/drive"
        )


def _unpack(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
