"""nginx and haproxy in front of services, as people run them: each keeps its connections to them.

In: the services' addresses. Out: the proxy's own. It knows nothing of what is asked through it.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.service import until

if TYPE_CHECKING:
    from collections.abc import Iterator

# Below /digits/ the service is asked without that prefix, below /named/ too, and it is told; /left is left to it.
# max_fails=0: what refuses connections is passed over, and asked again as soon as it listens.
NGINX = """
pid {folder}/pid; daemon off; error_log stderr crit;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    upstream service {{ {servers} keepalive 8; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_request_buffering off;
        }}
        location /digits/ {{ proxy_pass http://service/; }}
        location /named/ {{ proxy_pass http://service/; proxy_set_header X-Forwarded-Prefix /named; }}
        location /left {{ proxy_pass http://service; proxy_set_header X-Forwarded-Prefix /left; }}
    }}
}}
"""
HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s
frontend in
    bind 127.0.0.1:{port}
    default_backend out
backend out
    http-reuse always
{servers}
"""
PROXIES = {
    "nginx": (NGINX, "server {address} max_fails=0;", ["nginx", "-c"]),
    "haproxy": (HAPROXY, "    server service-{number} {address}\n", ["haproxy", "-db", "-f"]),
}


@contextlib.contextmanager
def running_proxy(name: str, *urls: str) -> Iterator[str]:
    """The address of a proxy of this name, which is installed, before the services at `urls`."""
    text, server, command = PROXIES[name]
    servers = "".join(
        server.format(number=number, address=url.removeprefix("http://")) for number, url in enumerate(urls)
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config"
        config.write_text(text.format(folder=folder, port=port, servers=servers))
        with subprocess.Popen([*command, str(config)], stderr=subprocess.DEVNULL) as process:
            try:
                until(lambda: _listens(port), f"{name} does not start")
                yield f"http://127.0.0.1:{port}"
            finally:
                process.terminate()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False
