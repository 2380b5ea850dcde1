"""Templates: one environment for each language, with what every template may use."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape

from imageflow.console import plots, reasons
from imageflow.console.assets import Assets
from imageflow.console.languages import LANGUAGES, NAMES, Language, utc
from imageflow.console.visit import Show, Visit
from imageflow.text.excerpt import hidden_in_html
from imageflow.text.phrase import Phrase

UTC = ZoneInfo("UTC")
NOTHING = "\N{EN DASH}"
FOREIGN = Markup('<span lang="en">{}</span>')


class Renderer:
    """Makes the HTML of a page."""

    def __init__(self, languages: Mapping[str, Language], assets: Assets) -> None:
        self._environments = {code: _environment(language, assets) for code, language in languages.items()}

    def render(self, visit: Visit, page: Show, notice: tuple[str, ...] = (), open_causes: int = 0) -> str:
        """The page of a visit. `notice`: what was done before, to be said once. Who is no operator sees no excerpts."""
        environment = self._environments[visit.language.code]
        html = environment.get_template(page.template).render(
            {
                "visit": visit,
                "user": visit.user,
                "may": visit.may,
                "form_token": visit.parts.sessions.form_token(visit.cookie),
                "now": visit.now,
                "zone": page.zone or UTC,
                "lang": visit.language.code,
                "languages": [(code, NAMES[code], visit.here(lang=code)) for code in LANGUAGES],
                "notice": notice,
                "open_causes": open_causes,
                "pic_of": visit.pictures.of,
                **page.values,
            }
        )
        return html if visit.may("operator") else hidden_in_html(html)


def _environment(language: Language, assets: Assets) -> Environment:
    environment = Environment(
        loader=PackageLoader("imageflow.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        extensions=["jinja2.ext.i18n", "jinja2.ext.do"],
    )
    environment.policies["ext.i18n.trimmed"] = True
    environment.install_gettext_translations(language.texts, newstyle=True)  # type: ignore[attr-defined]  # the extension adds it
    environment.globals.update(asset=assets.url, plots=plots)
    environment.filters.update(
        number=language.number,
        percent=language.percent,
        duration=language.duration,
        bytes=language.bytes,
        author=language.author,
        path=lambda text: quote(str(text), safe=""),
        moment=_moment(language),
        ago=_ago(language),
        short=short,
        clock=_clock(language),
        zone_name=zone_name,
        said=_said(language),
    )
    return environment


def _moment(language: Language) -> Any:
    @pass_context
    def moment(context: Context, instant: datetime | None) -> Markup | str:
        """An instant in the page's zone; UTC in the tooltip and for machines."""
        if instant is None:
            return NOTHING
        exact = utc(instant)
        shown = language.moment(instant, context["zone"], context["now"])
        return Markup('<time datetime="{}" title="{} UTC">{}</time>').format(exact, exact[:-1].replace("T", " "), shown)

    return moment


def _ago(language: Language) -> Any:
    @pass_context
    def ago(context: Context, instant: datetime | None) -> Markup | str:
        """How long ago an instant is, or how long until then; the instant itself in the tooltip."""
        if instant is None:
            return NOTHING
        shown, exact = language.ago(instant, context["now"]), language.exact(instant, context["zone"])
        return Markup('<time datetime="{}" title="{}">{}</time>').format(utc(instant), exact, shown)

    return ago


def _said(language: Language) -> Any:
    moment = _moment(language)

    def translated(message: str, plural: str | None, count: int) -> Markup:
        texts = language.texts
        return escape(texts.gettext(message) if plural is None else texts.ngettext(message, plural, count))

    @pass_context
    def said(context: Context, text: Any) -> Markup:
        """A sentence or a reason in the page's language if it is one of ours; else as it is, which is English or anything."""
        if isinstance(text, Phrase):
            return Markup(text.said(translated, lambda value: said(context, value)))  # noqa: S704 - both escape
        if isinstance(text, datetime):
            return Markup(moment(context, text))  # noqa: S704 - it escapes
        if isinstance(text, int):
            return escape(language.number(text))
        found = reasons.known(str(text)) if language.code != "en" else None
        if found is None:
            return FOREIGN.format(text)
        shown = language.texts.gettext(found.message) % found.values
        before, after = (FOREIGN.format(part) if part else Markup("") for part in (found.before, found.after))
        return before + escape(shown) + after

    return said


def short(run_id: str) -> str:
    """A run's id as people call it: what is by chance at its end."""
    return run_id.rpartition("-")[2][:4] if run_id.count("-") >= 2 else run_id


@pass_context
def zone_name(context: Context, instant: datetime) -> str:
    """The zone of the page's times, and how far from UTC it is."""
    zone: ZoneInfo = context["zone"]
    away = instant.astimezone(zone).strftime("%z")
    return zone.key if zone.key == "UTC" else f"{zone.key} (UTC{away[:3]}:{away[3:]})"


def _clock(_language: Language) -> Any:
    @pass_context
    def clock(context: Context, instant: datetime) -> Markup:
        """The time in the page's zone, and which zone that is."""
        zone: ZoneInfo = context["zone"]
        local = instant.astimezone(zone)
        place = zone.key.rpartition("/")[2].replace("_", " ")
        return Markup('<time datetime="{}" data-zone="{}">{}</time> {}').format(
            utc(instant), zone.key, local.strftime("%H:%M"), place
        )

    return clock
