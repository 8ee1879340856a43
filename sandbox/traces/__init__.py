"""Traces of invocations: noted on the way, kept while recent, and worked out when somebody looks.

`record` is all that the path of a call knows of it; `store` keeps, `documents` makes of a
record what X-Ray would show, with what the function itself has sent (`xray`), and `otlp`
sends it on.
"""
