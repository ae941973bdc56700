"""Serve the web page of `accompgen web`. Needs gradio, the extra `web`.

What the page shows comes from this server alone: no analytics, no fonts or scripts from elsewhere.
"""

import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from accompgen_hf.accompgen.optional_accompgen import import_optional
from accompgen_hf.app.open_pipeline import SHIPPED_VOCALS
from accompgen_hf.web.studio import MAX_BYTES, MAX_DURATION_S, Studio
from accompgen_hf.web.texts import HEAD

QUEUE_SIZE = 16
_ENVIRONMENT = {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_RUN_HISTORY": "False"}


@contextmanager
def _without_proxies() -> Iterator[None]:
    """Take the settings of proxies out of the environment: gradio asks its own page whether it is there.

    The page is on this machine, and `NO_PROXY` is not enough: with `ALL_PROXY=socks://` gradio fails at its import.
    """
    names = [name for name in os.environ if name.lower() in ("http_proxy", "https_proxy", "all_proxy", "ftp_proxy")]
    taken = {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ.update(taken)


def _check_address(host: str, port: int | None) -> None:
    """Refuse where this machine cannot listen: gradio would try a hundred ports there, each for five seconds."""
    try:
        [family, kind, protocol, _, address] = socket.getaddrinfo(host, port or 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            if os.name == "posix":  # a port that was left a moment ago is free
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        where = f"{host!r}" if port is None else f"{host!r} on port {port}"
        raise OSError(
            f"`host` {where} cannot be listened on ({error.strerror or error}): give an address of this machine, such "
            "as 127.0.0.1, or 0.0.0.0 for the whole network, and a port that is free."
        ) from error


@contextmanager
def open_page(
    pipe: Any,
    host: str | None = "127.0.0.1",
    port: int | None = None,
    max_bytes: int = MAX_BYTES,
    max_duration_s: float = MAX_DURATION_S,
    queue_size: int = QUEUE_SIZE,
    play: Callable[..., dict[str, Any]] | None = None,
    has_mcp: bool = False,
) -> Iterator[str]:
    """Serve the page while the context is open. At its end all jobs are stopped and all files are deleted.

    Args:
        pipe: A `VocalAccompanimentPipeline`.
        host (`str`, *optional*): The address to listen on. `None` takes gradio's, which a Space sets.
        port (`int`, *optional*): The port to listen on. `None` takes gradio's, or the first free one from 7860.
        max_bytes, max_duration_s: The largest and the longest recording.
        queue_size (`int`): How many jobs may wait.
        play (`Callable`, *optional*): Called in place of `pipe`, as in `Studio`.
        has_mcp (`bool`): Also offer the endpoints as tools of an MCP server, at `gradio_api/mcp/` below the address.

    Returns:
        The page's address.

    Raises:
        ImportError: If gradio, or mcp if it is asked for, is missing or broken; names the extra.
        OSError: If this machine has no such address, or the port is taken.
    """
    if host is not None:
        _check_address(host, port)
    # A stopped job may still hold its folder for a moment.
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="accompgen-web-", ignore_cleanup_errors=True))
        os.environ.update(_ENVIRONMENT, GRADIO_TEMP_DIR=os.path.join(folder, "gradio"))
        stack.enter_context(_without_proxies())
        import_optional("gradio", "The web page", ".[web]")
        from accompgen_hf.web.layout import CSS, build_page, make_theme

        if has_mcp:
            import_optional("mcp", "The MCP server", ".[mcp]")
        studio = Studio(pipe, os.path.join(folder, "jobs"), max_bytes, max_duration_s, play)
        page = build_page(studio)
        studio.warm_up()
        page.queue(max_size=queue_size, default_concurrency_limit=1, api_open=False)
        try:
            _, address, _ = page.launch(
                server_name=host,
                server_port=port,
                max_file_size=max_bytes,
                allowed_paths=[str(SHIPPED_VOCALS)],
                theme=make_theme(),
                css=CSS,
                head=HEAD,
                footer_links=[],
                show_error=False,  # an unexpected error goes to this process's log only
                share=False,
                mcp_server=has_mcp,
                ssr_mode=False,
                quiet=True,
                prevent_thread_lock=True,
            )
            yield address
        finally:
            studio.stop_all()
            page.close(verbose=False)
