"""The command `accompgen web`: the page for people who would rather not type. Exit codes as in `cli`."""

import argparse
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from accompgen_hf.app.open_pipeline import add_machine_options, choose_device, load_pipeline, set_threads


def add_web_command(commands: Any, number: Callable[..., Callable[[str], Any]]) -> None:
    """Add the command `web`; `number` makes a parser of numbers in a range."""
    web = commands.add_parser("web", help="a web page: record or upload, listen, download (needs the extra `web`)")
    add = web.add_argument
    add("--model", help="a folder or Hub repository; without it the small default inside the package")
    add_machine_options(add, number)
    add("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 lets the whole network in (%(default)s)")
    add("--port", type=number(int, 1, 65_535), metavar="N", help="port to listen on (the first free one from 7860)")
    seconds, megabytes = number(float, 1), number(float, 0.1)
    add("--max-duration", type=seconds, default=60.0, metavar="S", help="longest recording in seconds (%(default)s)")
    add("--max-size", type=megabytes, default=20.0, metavar="MB", help="largest recording in megabytes (%(default)s)")
    add("--mcp", action="store_true", help="also serve the endpoints as tools of an MCP server (extra `mcp`)")
    add("--debug", action="store_true", help="show the full traceback of an error")
    web.set_defaults(run=run_web)


def run_web(arguments: argparse.Namespace) -> int:
    """Carry out `accompgen web` until it is stopped."""
    from accompgen_hf.web.server import open_page

    device = choose_device(arguments.device)
    pipe = load_pipeline(arguments.model, device)
    set_threads(arguments.threads)
    ended = threading.Event()
    previous = signal.signal(signal.SIGTERM, lambda *_: ended.set())  # so that files are also deleted on SIGTERM
    caps = {"max_bytes": round(arguments.max_size * 2**20), "max_duration_s": arguments.max_duration}
    try:
        with open_page(pipe, arguments.host, arguments.port, **caps, has_mcp=arguments.mcp) as address:
            print(address, flush=True)
            if arguments.mcp:
                print(f"The MCP server is {address}gradio_api/mcp/", file=sys.stderr, flush=True)
            print("Open this address in a browser; Ctrl-C ends the page.", file=sys.stderr, flush=True)
            ended.wait()
    except KeyboardInterrupt:
        pass  # the usual way to end the page
    finally:
        signal.signal(signal.SIGTERM, previous)
    return 0
