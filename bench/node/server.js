const { createHash } = require("node:crypto");
const { createServer } = require("node:http");

process.on("SIGTERM", () => process.exit(0));
const server = createServer((request, response) => response.end("hello\n"));
// Echoes single bytes: enough of a WebSocket server to see whether a connection lives.
server.on("upgrade", (request, socket) => {
  const key = request.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  const accept = createHash("sha1").update(key).digest("base64");
  socket.write(
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
      `Sec-WebSocket-Accept: ${accept}\r\n\r\n`,
  );
  socket.on("error", () => {});
  socket.on("data", (frame) => {
    if (frame[0] === 0x82 && frame[1] === 0x81) socket.write(Buffer.from([0x82, 1, frame[6] ^ frame[2]]));
    else socket.end();
  });
});
server.listen(Number(process.env.PORT ?? 8080));
