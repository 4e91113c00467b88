"""One HTTP request with one deadline."""

import contextlib
import http.client
import socket
import ssl
import threading
from urllib.parse import SplitResult


def post(
    parts: SplitResult, path: str, message: bytes, headers: dict[str, str], timeout: float
) -> tuple[int | None, str]:
    """The answer's status, or None and what went wrong, in words that hold nothing of the URL."""
    host = str(parts.hostname)
    connection = (
        http.client.HTTPSConnection(host, parts.port, timeout=timeout, context=ssl.create_default_context())
        if parts.scheme == "https"
        else http.client.HTTPConnection(host, parts.port, timeout=timeout)
    )
    late = threading.Event()

    def cut() -> None:
        # The library's timeout is per packet; a server that answers letter by letter would hold us for ever.
        late.set()
        if connection.sock is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)  # below TLS, whose state is not ours

    watchdog = threading.Timer(timeout, cut)
    watchdog.daemon = True
    watchdog.start()
    try:
        connection.request("POST", path, body=message, headers=headers)
        return connection.getresponse().status, ""
    except ssl.SSLCertVerificationError as error:
        return None, f"its certificate is not accepted: {error.verify_message}"
    except TimeoutError:
        return None, f"not within {timeout:g} s"
    except http.client.HTTPException:
        return None, f"not within {timeout:g} s" if late.is_set() else "what came is no HTTP"
    except OSError as error:
        return None, f"not within {timeout:g} s" if late.is_set() else (error.strerror or type(error).__name__)
    finally:
        watchdog.cancel()
        connection.close()
