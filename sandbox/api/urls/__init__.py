"""Function URLs: HTTP requests that become invocations, and outcomes that become HTTP answers.

`address`: which URL a request is for; `access`: who may; `event`: what the function gets;
`answer`: what its caller gets; `cors`: what browsers get; `front`: all of it, in order.
"""
