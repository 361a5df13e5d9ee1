"""Runs microburst, a proxy that injects faults, on a free port of 127.0.0.1. Argument: the upstream's URL."""

import sys

from aiohttp import web
from bound import announce, bind, exit_with_parent
from microburst.app import make_app
from microburst.core.pipeline import Microburst

listener = bind()
listener.listen(1024)
app = make_app(Microburst(sys.argv[1], rules=[], resign=False, http2=False))
announce(listener.getsockname()[1])
exit_with_parent()
web.run_app(app, sock=listener, print=None)
