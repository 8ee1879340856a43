"""CloudWatch's filter patterns for text: `term`, `"a phrase"`, `?either ?or`, `-without`.

A term is found anywhere in a message, in the case it is written in. Terms are all
needed, of those with `?` one is enough; next to any other term those with `?` count
for nothing, as on AWS. Patterns over JSON or columns (`{ … }`, `[ … ]`) and regular
expressions (`%…%`) are refused rather than taken for terms.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_TERM = re.compile(r'\s*(?P<sign>[?-]?)(?:"(?P<phrase>(?:[^"\\]|\\.)*)"|(?P<word>[^\s"]+))(?=\s|$)')


def compile_pattern(pattern: str) -> Callable[[str], bool] | None:
    """Whether a message matches; None for a pattern that every message does.

    Raises ValueError with a sentence for the caller.
    """
    text = pattern.strip()
    if text[:1] in ("{", "[") or (text[:1] == "%" and text[-1:] == "%"):
        raise ValueError(f"fnbox reads filter patterns of terms and phrases only, not {text!r}")
    terms: dict[str, list[str]] = {"": [], "?": [], "-": []}
    position = 0
    while position < len(text):
        match = _TERM.match(text, position)
        if match is None:
            raise ValueError("Invalid filter pattern")
        phrase = match["phrase"]
        word = match["word"] if phrase is None else re.sub(r"\\(.)", r"\1", phrase)
        terms[match["sign"]].append(word)
        position = match.end()
    needed, any_of, without = terms[""], terms["?"], terms["-"]
    if needed or without:
        return lambda message: (
            all(term in message for term in needed) and not any(term in message for term in without)
        )
    if any_of:
        return lambda message: any(term in message for term in any_of)
    return None
