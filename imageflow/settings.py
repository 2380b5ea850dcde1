"""Settings: IMAGEFLOW_* variables, read once, from a mapping that is passed in."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Literal, cast
from urllib.parse import unquote

import msgspec

from imageflow import secret
from imageflow.errors import SecretError, SettingsError
from imageflow.private_files import FILE_MODE, private_directory
from imageflow.secret import Bounds, Secret
from imageflow.text.masking import hide

PREFIX = secret.OWN_PREFIX
LOG_FORMATS = ("text", "json")
JAIL_MODES = ("strict", "best-effort")
PICTURE_MODES = ("direct", "off")

FROM_FILES = ("BROKER_URL", "STORE_URL", "SECRET_KEY", "HTTP_PROXY")
"""Settings that hold secrets. NAME_FILE names a file with the value, as Docker and Kubernetes mount secrets."""

DOCS = {
    "BROKER_URL": "the message queue: sqlite:///PATH or amqp://USER:PASSWORD@HOST/VHOST (default: a file in DATA_DIR)",
    "STORE_URL": "the database: sqlite:///PATH or postgresql://USER:PASSWORD@HOST/DATABASE (default: a file in DATA_DIR)",
    "DATA_DIR": "folder of the default queue and database files (default: ./imageflow-data)",
    "SECRET_KEY": "key of access tokens and webhook signatures; the same for all services (default: generated in DATA_DIR)",
    "LOG_FORMAT": "text or json; logs go to stderr (default: text)",
    "LISTEN": "address on which the gateway (and METRICS_PORT) listens (default: 127.0.0.1 where all services run in one "
    "process, 0.0.0.0 else)",
    "TRUSTED_PROXIES": "addresses or networks of proxies whose X-Forwarded-For is believed: ADDRESS,NETWORK/BITS,… "
    "(default: none)",
    "METRICS_PORT": "port of a service's /metrics, /health and /ready (default: none; the gateway serves them on its own port, and with this one set only whether it is ready)",
    "RETENTION_DAYS": "days to keep runs, rows and pages; rows with an open error stay longer; 0 keeps all (default: 30)",
    "PREFLIGHT_ALLOW_PRIVATE": "image hosts in private networks that preflight may ask: HOST,HOST,… or true for all "
    "(default: none)",
    "SECRET_DIRS": "folders of files that flows saved over the API may name as secrets: PATH,PATH,… "
    f"(default: {secret.DIRS})",
    "SECRET_ENV_PREFIXES": "how the names of variables begin that flows saved over the API may name as secrets: PREFIX,… "
    f"(default: {secret.ENV_PREFIXES})",
    "ALLOW_PRIVATE": "hosts in private networks that flows saved over the API may name: HOST,HOST,… or true for all "
    "(default: none)",
    "HTTP_PROXY": "proxy for requests to ERPs, Omnitron, image hosts and webhooks: http://USER:PASSWORD@HOST:PORT "
    "(default: none)",
    "NO_PROXY": "hosts that are asked without the proxy: HOST,DOMAIN,ADDRESS,NETWORK/BITS,…; this machine always is "
    "(default: none)",
    "JAIL": "strict or best-effort; without seccomp, strict runs no scripts, best-effort runs them less isolated "
    "(default: strict)",
    "CONSOLE_PICTURES": "direct or off; direct: the console's pages show product pictures, which the browser loads from the "
    "brand's own hosts (default: direct)",
    "START_SECONDS": "seconds that a service waits at its start for queue and database; 0: not at all (default: 600)",
    "STOP_SECONDS": "seconds that a service may take to finish its work when it is stopped (default: 30)",
    **{f"{name}_FILE": f"file that holds {name}; set it instead of {name}" for name in FROM_FILES},
}
"""Every setting with its text in `imageflow --help`."""


class Settings(msgspec.Struct, frozen=True):
    """What the environment sets. URLs hold passwords, so they are secrets and print masked."""

    broker_url: Secret
    store_url: Secret
    data_dir: Path
    secret_key: Secret | None
    log_format: Literal["text", "json"]
    metrics_port: int | None
    stop_seconds: float
    start_seconds: float = 600.0
    retention_days: int = 30
    preflight_allow_private: tuple[str, ...] = ()
    secret_dirs: tuple[str, ...] = Bounds.of({}).dirs
    secret_env_prefixes: tuple[str, ...] = Bounds.of({}).env_prefixes
    allow_private: tuple[str, ...] = ()
    listen: str | None = None
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    jail: Literal["strict", "best-effort"] = "strict"
    http_proxy: Secret | None = None
    no_proxy: tuple[str, ...] = ()
    console_pictures: Literal["direct", "off"] = "direct"

    @property
    def embedded(self) -> bool:
        """Whether the broker is a file that one process owns."""
        return self.broker_url.reveal().startswith("sqlite:")


def load(environ: Mapping[str, str]) -> Settings:
    """Settings from `environ`. Raises SettingsError that names a variable which is unknown or wrong."""
    given = {name.removeprefix(PREFIX): value for name, value in environ.items() if name.startswith(PREFIX)}
    for name in given:
        if name not in DOCS:
            raise SettingsError(
                f"{PREFIX}{name}: there is no such setting; there are: " + ", ".join(f"{PREFIX}{n}" for n in DOCS)
            )
    for name in FROM_FILES:
        if path := given.get(f"{name}_FILE"):
            given[name] = _content(given, name, Path(path))
    if given.get("SECRET_KEY"):
        hide(given["SECRET_KEY"])
    bounds = _bounds(environ)
    data_dir = _data_dir(given)
    return Settings(
        broker_url=_url(given, "BROKER_URL", f"sqlite:///{data_dir / 'broker.db'}", ("sqlite", "amqp", "amqps")),
        store_url=_url(given, "STORE_URL", f"sqlite:///{data_dir / 'store.db'}", ("sqlite", "postgresql")),
        data_dir=data_dir,
        secret_key=Secret(given["SECRET_KEY"]) if given.get("SECRET_KEY") else None,
        log_format=cast(Literal["text", "json"], _choice(given, "LOG_FORMAT", LOG_FORMATS)),
        metrics_port=_port(given),
        start_seconds=_seconds(given, "START_SECONDS", "600", zero=True),
        stop_seconds=_seconds(given, "STOP_SECONDS", "30"),
        retention_days=_days(given),
        preflight_allow_private=_hosts(given, "PREFLIGHT_ALLOW_PRIVATE"),
        secret_dirs=bounds.dirs,
        secret_env_prefixes=bounds.env_prefixes,
        allow_private=_hosts(given, "ALLOW_PRIVATE"),
        listen=_listen(given),
        trusted_proxies=_networks(given, "TRUSTED_PROXIES"),
        console_pictures=cast(Literal["direct", "off"], _choice(given, "CONSOLE_PICTURES", PICTURE_MODES)),
        jail=cast(Literal["strict", "best-effort"], _choice(given, "JAIL", JAIL_MODES)),
        http_proxy=_proxy(given),
        no_proxy=_direct(given),
    )


def secret_key(settings: Settings) -> bytes:
    """The setting SECRET_KEY, or a key generated once in the data directory (mode 0600).

    Raises SettingsError if none is set and none can be generated.
    """
    if settings.secret_key is not None:
        return settings.secret_key.reveal().encode()
    try:
        return _own_key(settings.data_dir)
    except OSError as error:
        raise SettingsError(
            f"{PREFIX}SECRET_KEY is not set, and {settings.data_dir} cannot hold one: {error.strerror}"
        ) from error


def _own_key(data_dir: Path) -> bytes:
    path = data_dir / secret.KEY_FILE
    private_directory(data_dir)
    if not path.exists():
        fresh = path.with_suffix(f".{secrets.token_hex(4)}")
        with open(fresh, "x", opener=_private) as file:
            file.write(secrets.token_urlsafe(32))
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)  # whole or not at all: another process may make it at the same moment
        fresh.unlink()
    return path.read_bytes()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, FILE_MODE)


def _data_dir(given: Mapping[str, str]) -> Path:
    """The data directory, which need not be there yet."""
    folder = Path(given.get("DATA_DIR") or secret.DATA_DIR)
    there = next((path for path in (folder, *folder.parents) if os.path.exists(path)), None)  # noqa: PTH110 - never raises
    if there is not None and not there.is_dir():
        raise SettingsError(f"{PREFIX}DATA_DIR: must be a folder, and {there} is a file")
    return folder


def _content(given: Mapping[str, str], name: str, path: Path) -> str:
    """The value of the setting `name`, from the file at `path`."""
    if given.get(name):
        raise SettingsError(f"{PREFIX}{name} and {PREFIX}{name}_FILE are both set: set one")
    try:
        return secret.from_file(path).reveal()
    except SecretError as error:
        raise SettingsError(f"{PREFIX}{name}_FILE: {error}") from error


def _url(given: Mapping[str, str], name: str, default: str, schemes: tuple[str, ...]) -> Secret:
    url = given.get(name) or default
    if url.partition("://")[0] not in schemes:
        raise SettingsError(f"{PREFIX}{name}: must start with " + " or ".join(f"{scheme}://" for scheme in schemes))
    if password := re.match(r"[^:/]+://[^:@/]*:(.*)@", url):
        hide(password[1], unquote(password[1]))
    return Secret(url)


def _choice(given: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    value = given.get(name) or choices[0]
    if value not in choices:
        raise SettingsError(f"{PREFIX}{name}: must be {' or '.join(choices)}, not {value!r}")
    return value


def _port(given: Mapping[str, str]) -> int | None:
    value = given.get("METRICS_PORT")
    if not value:
        return None
    if not value.isascii() or not value.isdigit() or not 0 < int(value) < 65536:
        raise SettingsError(f"{PREFIX}METRICS_PORT: must be a port number, not {value!r}")
    return int(value)


def _days(given: Mapping[str, str]) -> int:
    value = given.get("RETENTION_DAYS") or "30"
    if not value.isascii() or not value.isdigit() or len(value) > 5:
        raise SettingsError(f"{PREFIX}RETENTION_DAYS: must be a number of days, not {value!r}")
    return int(value)


def _hosts(given: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Host names, or `*` for all."""
    hosts = tuple(host.strip().lower() for host in given.get(name, "").split(",") if host.strip())
    if hosts in (("true",), ("1",), ("yes",), ("*",)):
        return ("*",)
    if hosts in (("false",), ("0",), ("no",)):
        return ()
    for host in hosts:
        if not re.fullmatch(r"[a-z0-9._-]+|\[?[0-9a-f:.]+\]?", host):
            raise SettingsError(f"{PREFIX}{name}: must be host names with commas between them, or true, not {host!r}")
    return hosts


def _proxy(given: Mapping[str, str]) -> Secret | None:
    if not given.get("HTTP_PROXY"):
        return None
    url = _url(given, "HTTP_PROXY", "", ("http",))
    host = r"[A-Za-z0-9._-]+|\[[0-9a-fA-F:.]+\]"
    found = re.fullmatch(rf"http://(?:[^:/@\s]+(?::[^/@\s]*)?@)?(?:{host})(?::(\d{{1,5}}))?/?", url.reveal())
    if found is None or not 0 < int(found[1] or 1) < 65536:
        raise SettingsError(
            f"{PREFIX}HTTP_PROXY: must be http://HOST:PORT or http://USER:PASSWORD@HOST:PORT; in user and password / is "
            "written %2F, : is written %3A and @ is written %40"
        )
    return url


def _direct(given: Mapping[str, str]) -> tuple[str, ...]:
    """Hosts, domains, addresses and networks."""
    entries = tuple(entry.strip().lower() for entry in given.get("NO_PROXY", "").split(",") if entry.strip())
    for entry in entries:
        if not _is_network(entry.strip("[]")) and not re.fullmatch(r"\*|\.?[a-z0-9._-]+", entry):
            raise SettingsError(
                f"{PREFIX}NO_PROXY: must be hosts, domains, addresses and networks with commas between them, not {entry!r}"
            )
    return entries


def _is_network(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True


def _bounds(environ: Mapping[str, str]) -> Bounds:
    bounds = Bounds.of(environ)
    for folder in bounds.dirs:
        if not Path(folder).is_absolute():
            raise SettingsError(f"{PREFIX}SECRET_DIRS: must be absolute paths with commas between them, not {folder!r}")
    for prefix in bounds.env_prefixes:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", prefix):
            raise SettingsError(
                f"{PREFIX}SECRET_ENV_PREFIXES: must be beginnings of names with commas between them, not {prefix!r}"
            )
    return bounds


def _listen(given: Mapping[str, str]) -> str | None:
    address = given.get("LISTEN")
    if not address:
        return None
    try:
        return str(ip_address(address.strip("[]")))
    except ValueError as error:
        raise SettingsError(
            f"{PREFIX}LISTEN: must be an address such as 127.0.0.1, 0.0.0.0 or ::1, not {address!r}"
        ) from error


def _networks(given: Mapping[str, str], name: str) -> tuple[IPv4Network | IPv6Network, ...]:
    try:
        return tuple(ip_network(text.strip()) for text in given.get(name, "").split(",") if text.strip())
    except ValueError as error:
        raise SettingsError(
            f"{PREFIX}{name}: must be addresses or networks with commas between them: {error}"
        ) from error


def _seconds(given: Mapping[str, str], name: str, default: str, *, zero: bool = False) -> float:
    value = given.get(name) or default
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not (seconds >= 0 if zero else seconds > 0) or not seconds < 86_400:
        raise SettingsError(
            f"{PREFIX}{name}: must be a number of seconds {'from' if zero else 'above'} 0, not {value!r}"
        )
    return seconds
