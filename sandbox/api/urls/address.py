"""Where function URLs are.

Every URL has two addresses on the port of the control plane:

* `http://<id>.lambda-url.<region>.<any domain>/…`, told by the Host header alone: as on AWS, and
  whatever domain a user has pointed here. `localhost` needs nothing but a client that resolves
  names under it, as browsers and curl do;
* `/_fnbox/urls/<id>/…`, which works wherever the API itself can be reached.

Choice: the second is what the API answers as FunctionUrl, unless `FNBOX_URL_DOMAIN` names a
domain. Many systems do not resolve `<id>.lambda-url.<region>.localhost`, and a client in a
container or on another machine reaches fnbox by another name; an address that works at once beats
one that looks like AWS's. Cost: links of a web page that begin with `/` miss its function.
"""

from __future__ import annotations

from sandbox.catalog import FunctionUrl

HOST_MARK = ".lambda-url."
"""In a Host header, and nowhere else but in that of a function URL."""
PATH = "/_fnbox/urls/"


def address(url: FunctionUrl, base_url: str, domain: str) -> str:
    """The FunctionUrl for somebody who reached the API at `base_url`, with no slash at its end."""
    if not domain:
        return f"{base_url}{PATH}{url.url_id}/"
    port = base_url.rpartition(":")[2]
    place = f"{domain}:{port}" if port.isdecimal() and ":" not in domain else domain
    return f"http://{url.url_id}{HOST_MARK}{url.key.region}.{place}/"


def by_host(host: str) -> str | None:
    """The id of the URL that a Host header is of, in lower case; None: it is of none."""
    url_id, mark, _ = host.lower().partition(HOST_MARK)
    return url_id if mark else None


def by_path(path: str) -> tuple[str, str] | None:
    """The id of the URL that an undecoded path is under, and what follows it; None: of none."""
    if not path.startswith(PATH):
        return None
    url_id, slash, rest = path[len(PATH) :].partition("/")
    return url_id, slash + rest or "/"
