"""Reads what obstore's errors say: whether to try again, and one line for people. Never passes their text on, which
may hold whatever the server sent back."""

import re
from dataclasses import dataclass

from obstore.exceptions import AlreadyExistsError, PermissionDeniedError, UnauthenticatedError

from ranking.store.bucket import Bucket

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z]{1,60})</Code>")
_KEY_SERVERS = re.compile(
    r"169\.254\.|/latest/(api|meta-data)|AssumeRole|/credentials"
)  # where a machine asks for its keys
_TRY_AGAIN = {408, 409, 412, 429}
_ON_400 = ("RequestTimeout", "SlowDown", "Throttling")  # said with status 400, and yet to be tried again


@dataclass(frozen=True)
class Trouble:
    """One failed request: `passing` if the same request may work in a moment, why it failed and what to do; `unsent`
    if the server has certainly not seen it."""

    passing: bool
    reason: str
    hint: str
    missing_bucket: bool = False
    unsent: bool = False


def trouble(error: Exception, bucket: Bucket) -> Trouble:
    """What an error of obstore means."""
    # The line above "Debug source" is for people; what the server answered is in it.
    text, _, debug = str(error).partition("\nDebug source")
    status = int(found[1]) if (found := _STATUS.search(text)) else None
    code = found[1] if (found := _CODE.search(text)) else ""
    said = f"{status} {code}".strip() if status else ""
    where = f"the server {bucket.server}"
    if _KEY_SERVERS.search(text):
        return Trouble(False, "there are no keys for it", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    if code == "NoSuchBucket":
        return Trouble(False, f"{where} has no bucket {bucket.name}", "create it, or correct PAIRSIEVE_STORE", True)
    if status in (401, 403) or isinstance(error, PermissionDeniedError | UnauthenticatedError):
        hint = "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and what the bucket permits"
        return Trouble(False, f"{where} refuses: {said}", hint)
    if isinstance(error, AlreadyExistsError) or status in _TRY_AGAIN or code in _ON_400:
        return Trouble(True, f"{where} says {said or 'to try again'}", "try again later")
    if "redirect" in text or (status and 300 <= status < 400):
        return Trouble(False, f"the bucket {bucket.name} is in another region", "set AWS_REGION to its region")
    if status and status < 500:
        return Trouble(False, f"{where} answers {said}", "check AWS_ENDPOINT_URL, AWS_REGION and the keys")
    if status:
        return Trouble(True, f"{where} answers {said}", "try again later")
    if "invalid list response" in text.lower():
        return Trouble(True, f"{where} answers what no S3 server says", "check AWS_ENDPOINT_URL")
    unsent = "ConnectError" in debug or "kind: Connect," in debug
    return Trouble(True, f"{where} does not answer", "check AWS_ENDPOINT_URL and the network", unsent=unsent)
