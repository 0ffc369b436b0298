"""The HTTP server: a knowledge base for browsers and programs, with OpenAI-compatible routes.

A request passes `guard` (host, site, token, rate, size), then a route (`routes_*`), which reads documents only through
the session of its principal (`access.Session`) and waits in `turns` for the model.
"""
