"""Runs ministack, the local AWS, on a free port of 127.0.0.1."""

import asyncio
import os

from bound import announce, bind

listener = bind()
port = listener.getsockname()[1]
# ministack reads them when it is imported. Its addresses of queues and functions have the port.
os.environ |= {
    "GATEWAY_PORT": str(port),
    "MINISTACK_HOST": "127.0.0.1",
    "SFTP_ENABLED": "0",
    "IOT_MTLS_ENABLED": "0",
    "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
}

from hypercorn.asyncio import serve
from hypercorn.config import Config
from ministack.app import app

listener.listen(1024)
announce(port)
config = Config()
config.bind = [f"fd://{listener.detach()}"]
config.keep_alive_timeout = 75
asyncio.run(serve(app, config))
