"""From the address of an S3 bucket to its client: options, credentials, region."""

import configparser
import os
from datetime import timedelta
from urllib.parse import parse_qsl, unquote, urlsplit

from obstore.store import S3Store

from deep_clustering.platform.errors import InputError, nearest

#: Name in ~/.aws -> name of the client's option.
_KEYS = {
    "aws_access_key_id": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
    "aws_session_token": "session_token",
    "region": "region",
}
_OPTIONS = ("endpoint_override", "region", "scheme")


def opened(uri: str) -> S3Store:
    """The client for `s3://[KEY:SECRET@]BUCKET/PREFIX?endpoint_override=HOST:PORT&...`.

    Args:
        uri: its options are `endpoint_override` (a server other than Amazon's), `scheme` (https, or
            http) and `region`. Credentials and region come from it, the usual variables
            (AWS_ACCESS_KEY_ID, ...), the profile in ~/.aws, or the machine's role.

    Raises:
        InputError: no bucket, or an unknown option.
    """
    parts = urlsplit(uri)
    options = dict(parse_qsl(parts.query))
    for name in options:
        if name not in _OPTIONS:
            raise InputError(
                f"the address of a store on S3 has no option '{name}'.{nearest(name, _OPTIONS)} "
                f"Known: {', '.join(_OPTIONS)}."
            )
    bucket = parts.netloc.rpartition("@")[2]
    if not bucket:
        raise InputError("the address of a store on S3 names a bucket: s3://bucket/prefix.")
    scheme, endpoint = options.get("scheme", "https"), options.get("endpoint_override")
    given = {
        "endpoint": f"{scheme}://{endpoint}" if endpoint else None,
        "region": options.get("region"),
        "access_key_id": unquote(parts.username) if parts.username else None,
        "secret_access_key": unquote(parts.password) if parts.password else None,
    }
    known = {name: value for name, value in given.items() if value}
    return S3Store(
        bucket,
        prefix=parts.path.strip("/") or None,
        checksum_algorithm="sha256",  # the server refuses a body that was torn on its way
        client_options={
            "allow_http": scheme == "http",
            "connect_timeout": timedelta(seconds=5),
            "timeout": timedelta(minutes=5),  # of a whole request; models are large
        },
        retry_config={"max_retries": 0},  # `_remote` repeats requests, and knows what they did
        **(_profile() | known),  # type: ignore[arg-type]
    )


def _profile() -> dict[str, str]:
    """What ~/.aws says of the chosen profile, unless the usual variables say it."""
    if "AWS_ACCESS_KEY_ID" in os.environ:
        return {}
    name = os.environ.get("AWS_PROFILE", "default")
    places = (
        (os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"), name),
        (
            os.environ.get("AWS_CONFIG_FILE", "~/.aws/config"),
            name if name == "default" else f"profile {name}",
        ),
    )
    found = {}
    for file, section in places:
        parser = configparser.RawConfigParser()
        try:
            parser.read(os.path.expanduser(file))
        except (configparser.Error, UnicodeDecodeError) as error:
            raise InputError(f"{file} cannot be read ({str(error).splitlines()[0]}).") from error
        for key, option in _KEYS.items():
            if parser.has_option(section, key):
                found[option] = parser.get(section, key)
    return found
