"""What all pages of the console have in common: sessions, languages, forms, headers, and what becomes of errors."""

from __future__ import annotations

import gzip
import hashlib
import secrets
from collections.abc import Callable, Collection, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

import structlog
from aiohttp import web

from imageflow.actions import errors
from imageflow.console import assets as static
from imageflow.console import packaged
from imageflow.console.assets import Assets
from imageflow.console.door import is_form_of
from imageflow.console.languages import all_languages, chosen
from imageflow.console.pages import PAGES
from imageflow.console.pictures import Pictures, policy
from imageflow.console.rendering import Renderer
from imageflow.console.visit import Answer, File, Go, Handler, Page, Parts, Show, Visit
from imageflow.errors import ImageFlowError
from imageflow.gateway.browser import cookie_name, way
from imageflow.gateway.deps import Deps
from imageflow.gateway.problem_details import Refusal, refusal
from imageflow.gateway.request_body import BodyReader
from imageflow.gateway.sessions import SESSION_SECONDS, Sessions
from imageflow.store import Store
from imageflow.text.excerpt import hidden

NOTICE = "imageflow-notice"
NOTICE_SECONDS = 60
LANGUAGE = "lang"
LANGUAGE_SECONDS = 365 * 86_400
PACKED_FROM = 1_000
MAX_FIELDS = 200

HEADERS = {
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
    "Vary": "Accept-Language, Cookie",
}

log = structlog.get_logger("imageflow.console")


class Console:
    """The pages of one gateway."""

    def __init__(self, parts: Parts, reader: BodyReader) -> None:
        self._parts = parts
        self._reader = reader
        self._languages = all_languages(packaged.catalogue)
        self._assets = Assets(packaged.contents())
        self._renderer = Renderer(self._languages, self._assets)

    def routes(self) -> list[web.AbstractRouteDef]:
        """The routes of all pages, of the static files, and of what is not there."""
        found: list[web.AbstractRouteDef] = [self._route(page) for page in PAGES]
        shown = {page.path for page in PAGES if page.method == "GET"}
        found += [
            self._route(Page("GET", page.path, _above(page.path, shown))) for page in PAGES if page.path not in shown
        ]
        found.append(web.get(static.ROOT + "/{path:.*}", self._file))
        found.append(web.get("/{path:(?!api/).*}", self._answering(Page("GET", "", _nothing))))
        return found

    def _route(self, page: Page) -> web.RouteDef:
        made = web.get if page.method == "GET" else web.post
        return made(page.path, self._answering(page))

    async def _file(self, request: web.Request) -> web.Response:
        asset = self._assets.served(request.path)
        if asset is None:
            raise Refusal(404, "there is nothing at this address")
        headers = {
            "Cache-Control": "public, max-age=31536000, immutable",
            "Vary": "Accept-Encoding",
            "Content-Security-Policy": "default-src 'none'; connect-src 'self'",  # the shared worker's own policy
        }
        body = asset.body
        if asset.packed is not None and "gzip" in request.headers.get("Accept-Encoding", ""):
            body, headers["Content-Encoding"] = asset.packed, "gzip"
        return web.Response(body=body, content_type=asset.type, headers=headers)

    def _answering(self, page: Page) -> Callable[[web.Request], Any]:
        async def answer(request: web.Request) -> web.StreamResponse:
            visit = await self._visit(request)
            if wanted := request.query.get(LANGUAGE):
                return self._other_language(visit, wanted)
            try:
                if page.role is not None and visit.user is None and page.method == "GET":
                    return self._to_login(visit)
                visit = await self._with_form(page, visit)
                answer = await page.handler(visit)
                open_causes = await self._open_causes(visit) if isinstance(answer, Show) else 0
                return self._response(visit, answer, open_causes)
            except ImageFlowError as error:
                return self._refused(visit, error)

        return answer

    async def _visit(self, request: web.Request) -> Visit:
        came = way(request.scheme, request.host)
        cookie = request.cookies.get(cookie_name(came), "")[:100]
        code = chosen(request.cookies.get(LANGUAGE), request.headers.get("Accept-Language", ""))
        user = None
        if cookie:
            try:
                user = await self._parts.sessions.user(cookie)
            except ImageFlowError as error:
                log.warning("session not known", error=str(error))
        pictures = Pictures(shown=self._parts.pictures, secure=came == "https")
        now = self._parts.deps.clock.now()
        return Visit(request, self._parts, self._languages[code], user, cookie, came, now, {}, pictures)

    async def _with_form(self, page: Page, visit: Visit) -> Visit:
        """The visit with the fields of its form. Raises Refusal 403 where it is no form of ours, or the role is too low."""
        request = visit.request
        if page.method == "POST":
            form = await self._form(request, page.limit)
            token = self._parts.sessions.form_token(visit.cookie) if visit.cookie else ""
            sites, origins = (request.headers.getall(name, []) for name in ("Sec-Fetch-Site", "Origin"))
            ours = is_form_of(form.get("csrf", ""), token, sites, origins, request.scheme, request.host)
            if not visit.cookie or not ours or (page.role is not None and visit.user is None):
                raise Refusal(403, "form")
            visit = visit._replace(form=form)
        if page.role is not None and not visit.may(page.role):
            raise Refusal(403, page.role)
        return visit

    async def _form(self, request: web.Request, limit: int) -> Mapping[str, str]:
        if request.content_type != "application/x-www-form-urlencoded":
            raise Refusal(415, "a form of the console is application/x-www-form-urlencoded")
        async with self._reader.form(request, limit) as body:
            try:
                return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS))
            except ValueError as error:
                raise Refusal(400, "the form cannot be read") from error

    # answers -----------------------------------------------------------------------------------------------------------

    async def _open_causes(self, visit: Visit) -> int:
        """How many causes are open: what stands beside *Errors* on every page."""
        return len(await errors.listed(self._parts.looks)) if visit.user is not None else 0

    def _response(self, visit: Visit, answer: Answer, open_causes: int) -> web.Response:
        match answer:
            case Show():
                return self._shown(visit, answer, open_causes)
            case Go():
                return self._gone(visit, answer)
            case File():
                return _download(visit, answer)

    def _shown(self, visit: Visit, page: Show, open_causes: int = 0) -> web.Response:
        if not visit.cookie:  # what the forms of this page go with; at the log-in another takes its place
            visit = visit._replace(cookie=secrets.token_urlsafe(32))
        notice = _read_notice(visit.request.cookies.get(NOTICE, "")) if page.status == HTTPStatus.OK else ()
        body = self._renderer.render(visit, page, notice, open_causes).encode()
        tag = f'"{hashlib.sha256(body).hexdigest()[:24]}"'
        headers = {**HEADERS, "ETag": tag, "Content-Security-Policy": policy(visit.pictures.origins), **page.headers}
        if page.status == HTTPStatus.OK and visit.request.headers.get("If-None-Match") == tag:
            response = web.Response(status=304, headers=headers)
        else:
            if len(body) >= PACKED_FROM and "gzip" in visit.request.headers.get("Accept-Encoding", ""):
                body, headers["Content-Encoding"] = gzip.compress(body, 5, mtime=0), "gzip"
            response = web.Response(
                body=body, status=page.status, content_type="text/html", charset="utf-8", headers=headers
            )
        if visit.request.cookies.get(cookie_name(visit.came)) is None and visit.came != "plain":
            self._set_session(visit, response, visit.cookie)
        if notice:
            response.del_cookie(NOTICE, path="/")
        return response

    def _gone(self, visit: Visit, to: Go) -> web.Response:
        response = web.Response(status=303, headers={**HEADERS, "Location": to.to})
        if to.notice:
            value = ".".join(quote(part, safe="").replace(".", "%2E") for part in to.notice)
            response.set_cookie(NOTICE, value, max_age=NOTICE_SECONDS, path="/", httponly=True, samesite="Lax")
        if to.session:
            self._set_session(visit, response, to.session)
        elif to.session is not None:
            response.del_cookie(cookie_name(visit.came), path="/", secure=visit.came == "https", httponly=True)
            response.headers["Clear-Site-Data"] = '"cache"'
        return response

    @staticmethod
    def _set_session(visit: Visit, response: web.Response, text: str) -> None:
        response.set_cookie(
            cookie_name(visit.came),
            text,
            max_age=SESSION_SECONDS,
            path="/",
            secure=visit.came == "https",
            httponly=True,
            samesite="Lax",
        )

    def _to_login(self, visit: Visit) -> web.Response:
        return self._gone(visit, Go(f"/login?next={quote(visit.request.rel_url.raw_path_qs, safe='/')}"))

    def _other_language(self, visit: Visit, wanted: str) -> web.Response:
        response = self._gone(visit, Go(visit.here()))
        if wanted in self._languages:
            secure = visit.came == "https"
            response.set_cookie(
                LANGUAGE, wanted, max_age=LANGUAGE_SECONDS, path="/", secure=secure, httponly=True, samesite="Lax"
            )
        return response

    def _refused(self, visit: Visit, error: ImageFlowError) -> web.Response:
        """An error as a page."""
        why = refusal(error)
        if why.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            log.warning("page failed", path=visit.request.path, error=str(error))
        headers = {name: value for name, value in why.headers.items() if name != "WWW-Authenticate"}
        values = {"refused": why.status, "detail": str(why), "here": None, "problems": why.problems}
        return self._shown(visit, Show("refused.html", values, why.status, headers=headers))


def console(
    looks: Store, *, pictures: bool = True
) -> Callable[[Deps, Sessions, BodyReader], list[web.AbstractRouteDef]]:
    """What makes the console's routes, for a gateway. `looks`: the store over the console's own connections; `pictures`:
    whether pages show product pictures.
    """

    def routes(deps: Deps, sessions: Sessions, reader: BodyReader) -> list[web.AbstractRouteDef]:
        return Console(Parts(deps, sessions, looks, pictures), reader).routes()

    return routes


def _above(path: str, shown: Collection[str]) -> Handler:
    """A handler that redirects from the address of a form to its page: a browser that stays at that address after an
    answer can reload.
    """
    parts = path.split("/")
    kept = next(number for number in range(len(parts) - 1, 0, -1) if ("/".join(parts[:number]) or "/") in shown)

    async def lead(visit: Visit) -> Answer:
        return Go("/".join(visit.request.rel_url.raw_path.split("/")[:kept]) or "/")

    return lead


async def _nothing(_visit: Visit) -> Answer:
    raise Refusal(404, "there is nothing at this address")


def _download(visit: Visit, file: File) -> web.Response:
    """Who is no operator sees no excerpts, as in pages."""
    text = file.text if visit.may("operator") else hidden(file.text)
    headers = {
        **HEADERS,
        "Content-Disposition": f'attachment; filename="{quote(file.name, safe="")}"',
        "Content-Security-Policy": "default-src 'none'",
    }
    return web.Response(text=text, content_type=file.type, charset="utf-8", headers=headers)


def _read_notice(value: str) -> tuple[str, ...]:
    return tuple(unquote(part)[:200] for part in value[:1000].split(".")) if value else ()
