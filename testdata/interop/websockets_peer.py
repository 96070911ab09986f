"""Python's websockets as one endpoint, driven by interop_test.go.

The commands and events are those of ws_peer.js.
"""

import asyncio
import base64
import json
import sys

import websockets
from websockets.extensions import permessage_deflate

MAX_LINE = 1 << 26  # bytes in a command

tasks = set()  # the event loop itself keeps only weak references
conn = None  # the latest connection
deflate = {}  # what to agree on for compression, if it is not the default


def emit(*event):
    print(json.dumps(event), flush=True)


def encode(payload):
    return base64.b64encode(payload).decode()


def spawn(coroutine):
    task = asyncio.create_task(coroutine)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


async def use(ws):
    global conn
    conn = ws
    emit("open", ws.subprotocol or "")
    try:
        async for message in ws:
            if isinstance(message, str):
                emit("text", encode(message.encode()))
            else:
                emit("binary", encode(message))
    except websockets.ConnectionClosed:
        pass
    await ws.wait_closed()
    emit("closed", str(ws.close_code), ws.close_reason or "")


def compression(factory):
    if not deflate:
        return {}
    return {"compression": None, "extensions": [factory(**deflate)]}


async def listen(subprotocol):
    server = await websockets.serve(
        use,
        "127.0.0.1",
        0,
        subprotocols=[subprotocol],
        max_size=None,
        **compression(permessage_deflate.ServerPerMessageDeflateFactory),
    )
    emit("listening", str(server.sockets[0].getsockname()[1]))


async def connect(url, *subprotocols):
    ws = await websockets.connect(
        url,
        subprotocols=subprotocols or None,
        max_size=None,
        **compression(permessage_deflate.ClientPerMessageDeflateFactory),
    )
    spawn(use(ws))


async def send(*messages):
    if len(messages) == 1:
        await conn.send(messages[0])
        return

    async def fragments():
        for i, fragment in enumerate(messages):
            yield fragment
            if i == 0:
                await ping(b"between fragments")

    await conn.send(fragments())


async def ping(payload):
    async def wait(pong):
        await pong
        emit("pong", encode(payload))

    # The library resolves this only by a Pong with the same payload.
    spawn(wait(await conn.ping(payload)))


async def run(command, *args):
    if command == "deflate":
        for end in "server", "client":
            deflate[end + "_no_context_takeover"] = args[0] != "true"
            if args[1]:
                deflate[end + "_max_window_bits"] = int(args[1])
    elif command == "listen":
        await listen(*args)
    elif command == "connect":
        await connect(*args)
    elif command == "text":
        await send(*(base64.b64decode(arg).decode() for arg in args))
    elif command == "binary":
        await send(*(base64.b64decode(arg) for arg in args))
    elif command == "ping":
        await ping(base64.b64decode(args[0]))
    elif command == "close":
        await conn.close(*([int(args[0]), args[1]] if args else []))
    else:
        raise ValueError(command)


async def main():
    commands = asyncio.StreamReader(limit=MAX_LINE)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(commands), sys.stdin
    )
    while line := await commands.readline():
        try:
            await run(*json.loads(line))
        except websockets.ConnectionClosed as err:
            print(err, file=sys.stderr)  # the event comes from use()


asyncio.run(main())
