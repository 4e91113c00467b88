"""Makes a loopback port of this machine reachable for a lab's hosts: a test's S3, a notifier's server."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def exposed(address: str, port: int) -> Iterator[str]:
    """Listens at an address and hands each visitor on to that port on loopback; gives ``address:port``."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(lambda r, w: _lead(r, w, port), address, 0))
    thread = threading.Thread(target=loop.run_forever, name="lab-exposed", daemon=True)
    thread.start()
    try:
        yield f"{address}:{server.sockets[0].getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


async def _lead(visitor: asyncio.StreamReader, back: asyncio.StreamWriter, port: int) -> None:
    with contextlib.suppress(OSError):
        inner, out = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_pour(visitor, out), _pour(inner, back))
    back.close()


async def _pour(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while content := await source.read(65536):
            sink.write(content)
            await sink.drain()
    sink.close()
