"""How a call to a webhook is signed: the headers of Standard Webhooks (https://www.standardwebhooks.com).

The secret is the service's token as it stands, in UTF-8. Signed is ``<id>.<timestamp>.<body>``, with HMAC-SHA256.
"""

import base64
import hashlib
import hmac
import time
from collections.abc import Mapping

from pydantic import SecretStr


def signed_headers(call_id: str, body: bytes, token: SecretStr, at: int | None = None) -> Mapping[str, str]:
    """The three headers.

    Args:
        call_id: The idempotency key: the same for each attempt of the same call.
        body: As it is sent.
        token: Of the service.
        at: Seconds since 1970; None for now.
    """
    timestamp = str(int(time.time()) if at is None else at)
    signed = f"{call_id}.{timestamp}.".encode() + body
    digest = hmac.new(token.get_secret_value().encode(), signed, hashlib.sha256).digest()
    return {
        "webhook-id": call_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }
