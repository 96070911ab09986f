// An echo server on Bun.serve. Arguments: host, port, compressor (none, shared
// or dedicated).
const [host, port, compressor] = process.argv.slice(-3);
const compress = compressor !== "none";
const limit = 64 * 1024 * 1024;
const server = Bun.serve({
  hostname: host || "0.0.0.0",
  port: Number(port),
  fetch(request, server) {
    if (!server.upgrade(request)) {
      return new Response("not a WebSocket handshake", { status: 400 });
    }
  },
  websocket: {
    maxPayloadLength: limit,
    backpressureLimit: limit,
    idleTimeout: 0,
    sendPings: false,
    perMessageDeflate: compress && { compress: compressor, decompress: compressor },
    message(ws, message) {
      ws.send(message, compress);
    },
  },
});
console.log(`listening on ${server.hostname}:${server.port}`);
for await (const line of console) {
  if (line === "collect") {
    Bun.gc(true);
    console.log("collected");
  }
}
