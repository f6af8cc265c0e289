"""A matplotlib figure as an SVG element of a page: named, without fixed size or colours of its own for text and axes."""

import io
import re
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#010203"
"""Black in files. On the page it becomes the colour of the text around the plot, so that a dark page has light axes."""


def as_svg(figure: "Figure", *, prefix: str, title: str, description: str) -> str:
    """Return a figure as an SVG element for a page: named, without fixed size, ids that start with `prefix`, numbers rounded."""
    content = io.StringIO()
    metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(content, format="svg", metadata=metadata, transparent=True)
    text = content.getvalue()
    box = re.search(r'viewBox="([^"]*)"', text)
    body = text[text.index(">", text.index("<svg")) + 1 : text.rindex("</svg>")]
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, count=1, flags=re.DOTALL)  # It would style the whole page.
    body = re.sub(r"<[^>]+>", lambda tag: _page_tag(tag[0], prefix), body)
    body = re.sub(r">\s+<", "><", body)
    return (
        f'<svg viewBox="{box[1] if box else ""}" role="img" aria-labelledby="{prefix}-title {prefix}-desc">'
        f'<title id="{prefix}-title">{escape(title)}</title><desc id="{prefix}-desc">{escape(description)}</desc>{body}</svg>'
    )


def _page_tag(tag: str, prefix: str) -> str:
    tag = re.sub(r' transform="rotate\(-0 [^"]*"| font-family: [^;"]*;', "", tag)
    tag = re.sub(r'( id="| xlink:href="#|url\(#)', rf"\g<1>{prefix}-", tag).replace("xlink:href", "href")
    tag = re.sub(r"-?\d+\.\d{2,}", lambda found: f"{float(found[0]):.1f}".removesuffix(".0"), tag)
    return re.sub(r"\s*\n\s*", "", page_colour(tag))


def page_colour(text: str) -> str:
    """Return the text with `INK` replaced by the colour of the text around the plot."""
    return text.replace(INK, "currentColor")
