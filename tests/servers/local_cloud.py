"""Runs ministack, the local AWS, on a port of 127.0.0.1: --port, or a free one. Prints the port, and ends with its parent.

With --keep it continues after its parent has ended.
"""

import argparse
import asyncio
import os

from bound import announce, bind, exit_with_parent

parser = argparse.ArgumentParser(description="Runs ministack, the local AWS, on a port of 127.0.0.1.")
parser.add_argument("--port", type=int, default=0, help="the port [default: a free one]")
parser.add_argument("--keep", action="store_true", help="continue after the parent process has ended")
arguments = parser.parse_args()
listener = bind(arguments.port)
port = listener.getsockname()[1]
# ministack reads these variables when it is imported. Its URLs of queues and functions contain the port.
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
if not arguments.keep:
    exit_with_parent()
config = Config()
config.bind = [f"fd://{listener.detach()}"]
config.keep_alive_timeout = 75
asyncio.run(serve(app, config))
