// npm's ws as one endpoint, driven by interop_test.go: commands come as lines
// of JSON on stdin, events leave the same way on stdout. Payloads are base64.
//
//   ["deflate", takeover, bits]        what to agree on for compression, from now
//                                      on; bits may be ""
//   ["listen", subprotocol]         -> ["listening", port], then ["open", ...]
//   ["connect", url, subprotocol..] -> ["open", subprotocol]
//   ["text" | "binary", payload]       one message in one frame
//   ["text" | "binary", payload..]     fragments, with a Ping after the first
//   ["ping", payload]               -> ["pong", payload]
//   ["close", code, reason] or ["close"]
//
// and, whatever was asked for, ["text" | "binary", payload] for each message
// and ["closed", code, reason] at the end of each connection.
"use strict";

const { WebSocket, WebSocketServer } = require("ws");

const emit = (...event) => console.log(JSON.stringify(event));
const decode = (payload) => Buffer.from(payload, "base64");

let conn; // the latest connection
let deflate = {}; // options

function use(ws) {
  conn = ws;
  ws.on("message", (data, isBinary) =>
    emit(isBinary ? "binary" : "text", data.toString("base64")));
  ws.on("pong", (data) => emit("pong", data.toString("base64")));
  ws.on("close", (code, reason) => emit("closed", String(code), reason.toString()));
  ws.on("error", (err) => console.error(err.message));
}

const commands = {
  deflate(takeover, bits) {
    deflate = { perMessageDeflate: { threshold: 0 } };
    for (const end of ["server", "client"]) {
      if (takeover !== "true") deflate.perMessageDeflate[end + "NoContextTakeover"] = true;
      if (bits) deflate.perMessageDeflate[end + "MaxWindowBits"] = Number(bits);
    }
  },
  listen(subprotocol) {
    const server = new WebSocketServer({
      host: "127.0.0.1",
      port: 0,
      ...deflate,
      handleProtocols: (offered) => offered.has(subprotocol) && subprotocol,
    });
    server.on("listening", () => emit("listening", String(server.address().port)));
    server.on("connection", (ws) => {
      use(ws);
      emit("open", ws.protocol);
    });
  },
  connect(url, ...subprotocols) {
    const ws = new WebSocket(url, subprotocols, deflate);
    use(ws);
    ws.on("open", () => emit("open", ws.protocol));
  },
  text: (...payloads) => send(payloads, false),
  binary: (...payloads) => send(payloads, true),
  ping: (payload) => conn.ping(decode(payload)),
  close: (code, reason) => (code ? conn.close(Number(code), reason) : conn.close()),
};

function send(payloads, binary) {
  payloads.forEach((payload, i) => {
    conn.send(decode(payload), { binary, fin: i === payloads.length - 1 });
    if (i === 0 && payloads.length > 1) conn.ping("between fragments");
  });
}

require("readline")
  .createInterface({ input: process.stdin })
  .on("line", (line) => {
    const [command, ...args] = JSON.parse(line);
    commands[command](...args);
  })
  .on("close", () => process.exit());
