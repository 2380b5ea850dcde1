"""Logins at ERPs: a token that is asked for, by OAuth 2 or otherwise, HTTP basic, or a header with a secret."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import msgspec

from imageflow import pointer, secret
from imageflow.clock import Clock
from imageflow.errors import LoginError, TransportError
from imageflow.http.client import Answer, Transport
from imageflow.http.login_session import Issued, Session, Token
from imageflow.http.origin import origin, retry_after
from imageflow.model.flow import BasicLogin, Definition, Erp, HeaderLogin, OAuth2Login, TokenLogin
from imageflow.read import paging, request
from imageflow.secret import Secret, SecretRef
from imageflow.text.masking import hide

MAX_SESSIONS = 1000
MAX_LIFETIME_SECONDS = 10 * 366 * 86_400.0
FORM = "application/x-www-form-urlencoded"
MAX_DEPTH = 8


class Login(NamedTuple):
    """What a request carries to be let in."""

    headers: Mapping[str, str] = {}
    token: Token | None = None


class _Account(msgspec.Struct, frozen=True):
    """A login: what is posted where, and where the token is in the answer. `basic`: what HTTP basic says, if it is sent.
    `expires`: the answer says for how long the token is good, as OAuth 2 has it.
    """

    url: str
    body: Secret
    token_path: str
    headers: tuple[tuple[str, str], ...]
    bounded: bool
    basic: Secret | None = None
    expires: bool = False


class ErpLogins:
    """The logins of all flows. Flows that log in alike share a token; concurrent requests share one login."""

    def __init__(self, transport: Transport, environ: Mapping[str, str], clock: Clock) -> None:
        self._transport = transport
        self._environ = environ
        self._clock = clock
        self._sessions: dict[_Account, Session] = {}

    async def login(self, erp: Erp, *, bounded: bool) -> Login:
        """What lets a request in, with a token login if need be. `bounded`: see Definition.

        Raises SecretError for a secret that cannot be read, LoginError (`transient` where trying again may help).
        """
        match erp.login:
            case BasicLogin(username=username, password=password):
                return self._basic(username, password, bounded=bounded)
            case HeaderLogin(name=name, value=value):
                text = secret.resolve(value, self._environ, bounded=bounded).reveal()
                return Login({name: _header(text, f"the {value}")})
            case TokenLogin() as login:
                return await self._token(erp, login, bounded=bounded)
            case OAuth2Login() as login:
                return await self._oauth2(erp, login, bounded=bounded)
        return Login()

    def renew(self, erp: Erp, login: Login) -> bool:
        """The ERP answered 401: forget the token. False where there is nothing that a new login could change."""
        if login.token is None:
            return False
        for session in self._sessions.values():
            session.forget(login.token)
        return isinstance(erp.login, TokenLogin | OAuth2Login)

    def _basic(self, username: str | SecretRef, password: SecretRef, *, bounded: bool) -> Login:
        user = secret.resolve(username, self._environ, bounded=bounded).reveal()
        word = secret.resolve(password, self._environ, bounded=bounded).reveal()
        return Login({"Authorization": f"Basic {_encoded(user, word)}"})

    async def _token(self, erp: Erp, login: TokenLogin, *, bounded: bool) -> Login:
        body = filled(login.body, self._environ, bounded=bounded)
        account = _Account(
            login.url,
            Secret(msgspec.json.encode(body).decode()),
            login.token_path,
            tuple(sorted(_login_headers(erp, login).items())),
            bounded,
        )
        token = await self._given(account, erp.timeout)
        value = login.template.replace("{token}", token)
        hide(value)
        return Login({login.header: value}, token)

    async def _oauth2(self, erp: Erp, login: OAuth2Login, *, bounded: bool) -> Login:
        client = secret.resolve(login.client_id, self._environ, bounded=bounded).reveal()
        word = secret.resolve(login.client_secret, self._environ, bounded=bounded).reveal()
        form: dict[str, Any] = {"grant_type": "client_credentials"}
        if login.client_auth == "body":
            form |= {"client_id": client, "client_secret": word}
        if login.scope is not None:
            form["scope"] = login.scope
        form |= filled(login.body, self._environ, bounded=bounded)
        headers = {**_headers_along(erp, login.token_url, "authorization", "content-type"), "Content-Type": FORM}
        in_header = login.client_auth == "header"
        account = _Account(
            login.token_url,
            Secret(urlencode({name: request.text_of(value) for name, value in form.items() if value is not None})),
            "access_token",
            tuple(sorted(headers.items())),
            bounded,
            Secret(_encoded(quote(client, safe=""), quote(word, safe=""))) if in_header else None,
            expires=True,
        )
        token = await self._given(account, erp.timeout)
        value = f"Bearer {token}"
        hide(value)
        return Login({"Authorization": value}, token)

    async def _given(self, account: _Account, timeout: float) -> Token:
        session = self._sessions.get(account) or self._open(account)
        return await session.token(lambda: self._log_in(account, timeout))

    def _open(self, account: _Account) -> Session:
        while len(self._sessions) >= MAX_SESSIONS:
            self._sessions.pop(next(iter(self._sessions)))
        return self._sessions.setdefault(account, Session(self._clock, origin(account.url)))

    async def _log_in(self, account: _Account, timeout: float) -> Issued:
        body, headers = account.body.reveal().encode(), dict(account.headers)
        if account.basic is not None:
            headers["Authorization"] = f"Basic {account.basic.reveal()}"
        try:
            answer = await self._transport.request(
                "POST", account.url, headers=headers, body=body, timeout=timeout, bounded=account.bounded
            )
        except TransportError as error:
            raise LoginError(f"the login at the ERP: {error}", transient=error.transient) from error
        wait = retry_after(answer.headers, self._clock.now())
        try:
            token = token_in(answer, account.token_path, origin(account.url), wait)
        except LoginError as error:
            if account.expires and b"invalid_client" in answer.body:
                place = "header" if account.basic is None else "body"
                hint = f". If id and secret are right: erp.login.client_auth: {place}"
                raise LoginError(f"{error}{hint}", transient=error.transient, retry_after=wait) from error
            raise
        return Issued(token, lifetime_in(answer) if account.expires else None)


def _encoded(user: str, word: str) -> str:
    """What HTTP basic says, which is as secret as what is in it."""
    encoded = base64.b64encode(f"{user}:{word}".encode()).decode()
    hide(encoded)
    return encoded


def filled(body: Mapping[str, Any], environ: Mapping[str, str], *, bounded: bool) -> dict[str, Any]:
    """A login's body with its secrets in place."""

    def fill(value: Any) -> Any:
        if (ref := secret.reference(value)) is not None:
            return secret.resolve(ref, environ, bounded=bounded).reveal()
        if isinstance(value, dict):
            return {name: fill(item) for name, item in value.items()}
        return [fill(item) for item in value] if isinstance(value, list | tuple) else value

    return {name: fill(value) for name, value in body.items()}


def with_secrets(definition: Definition, environ: Mapping[str, str]) -> Definition:
    """The flow with the secrets of its headers, parameters and constants in place, for the requests that are made of it.

    Raises SecretError, and LoginError for a header's secret that cannot be sent.
    """
    erp = definition.erp
    if erp is None:
        return definition
    bounded = definition.bounded
    headers = {name: _plain(value, environ, bounded=bounded) for name, value in erp.extra_headers.items()}
    settings = {
        name: msgspec.structs.replace(setting, value=_plain(setting.value, environ, bounded=bounded))
        for name, setting in erp.query_settings.items()
    }
    for name, value in headers.items():
        _header(value, f"the secret of the header {name}")
    filled_erp = msgspec.structs.replace(
        erp,
        extra_headers=headers,
        extra_params=filled(erp.extra_params, environ, bounded=bounded),
        query_settings=settings,
    )
    return msgspec.structs.replace(definition, erp=filled_erp)


def _plain(value: Any, environ: Mapping[str, str], *, bounded: bool) -> Any:
    return secret.resolve(value, environ, bounded=bounded).reveal() if isinstance(value, SecretRef) else value


def _login_headers(erp: Erp, login: TokenLogin) -> dict[str, str]:
    """extra_headers go along where the login is at the ERP's own origin; an old token never does."""
    return _headers_along(erp, login.url, login.header.lower(), "authorization")


def _headers_along(erp: Erp, url: str, *refused: str) -> dict[str, str]:
    extra = {name: value for name, value in request.own_headers(erp).items() if name.lower() not in refused}
    return {**request.DEFAULT_HEADERS, **extra} if paging.is_own(erp, url) else dict(request.DEFAULT_HEADERS)


def token_in(answer: Answer, path: str, where: str, wait: float | None) -> str:
    """The token in the answer to a login. Raises LoginError that says what came instead."""
    if not answer.ok:
        said = answer.excerpt()
        text = f"the login at the ERP ({where}) was refused: {answer.status} {said}".rstrip()
        raise LoginError(text, transient=answer.transient, retry_after=wait)
    document = _document(answer)
    token = pointer.find(document, path)
    if isinstance(token, int) and not isinstance(token, bool):
        token = str(token)
    if not isinstance(token, str) or not token.strip() or token.lstrip().startswith("<"):
        raise LoginError(
            f"the answer to the login at the ERP ({where}) has no token at token_path {path!r}: "
            + (
                f"it is {pointer.describe(document)}{_elsewhere(document, path)}"
                if token is pointer.MISSING
                else f"it has {pointer.describe(token)}"
            )
        )
    return _header(token.strip(), "the ERP's token")


def _elsewhere(document: Any, path: str) -> str:
    """Where the answer has a field of the path's last name, in words; empty: nowhere."""
    name = path.rpartition(".")[2].rpartition("/")[2]
    found = next(_places(document, name), None)
    return f"; there is {found}: token_path: {found}" if found else ""


def _places(document: Any, name: str, above: tuple[str, ...] = ()) -> Iterator[str]:
    """The dotted paths of texts of that name, the outermost first."""
    if not isinstance(document, dict) or len(above) >= MAX_DEPTH:
        return
    if isinstance(document.get(name), str):
        yield ".".join((*above, name))
    for key, value in document.items():
        yield from _places(value, name, (*above, key))


def lifetime_in(answer: Answer) -> float | None:
    """For how many seconds a token is good, as its answer says (`expires_in`); None where it does not."""
    document = _document(answer)
    said = document.get("expires_in") if isinstance(document, dict) else None
    if isinstance(said, str) and re.fullmatch(r"[0-9]{1,9}", said.strip()):
        said = int(said)
    if isinstance(said, bool) or not isinstance(said, (int, float)) or not 0 < said < MAX_LIFETIME_SECONDS:
        return None
    return float(said)


def _document(answer: Answer) -> Any:
    """The answer as JSON; a token may also come as plain text."""
    try:
        return msgspec.json.decode(answer.body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return answer.body.decode("utf-8", "replace").strip()


def _header(text: str, what: str) -> str:
    if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", text):
        raise LoginError(f"{what} holds line breaks or control characters: it cannot be sent in a header")
    return text
