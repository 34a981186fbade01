// The server side of RFC 6455 in one small module, so that the image needs no npm packages.
import { createHash } from "node:crypto";
import { EventEmitter } from "node:events";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const MAX_MESSAGE = 1024 * 1024;
const OPCODE = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 };

/** Answers an HTTP upgrade and returns the connection, or `undefined` if it is not a WebSocket. */
export function accept(request, socket, head) {
  const key = request.headers["sec-websocket-key"];
  if (request.headers.upgrade?.toLowerCase() !== "websocket" || !key) {
    socket.end("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    return undefined;
  }
  const answer = createHash("sha1").update(key + GUID).digest("base64");
  socket.write(
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
      `Sec-WebSocket-Accept: ${answer}\r\n\r\n`,
  );
  socket.setNoDelay(true);
  return new Connection(socket, head);
}

/** Emits `message` (a string) and `close` (once). */
class Connection extends EventEmitter {
  #socket;
  #buffer;
  #fragments = [];
  #closed = false;

  constructor(socket, head) {
    super();
    this.#socket = socket;
    this.#buffer = head;
    socket.on("data", (data) => this.#receive(data));
    socket.on("close", () => this.#finish());
    socket.on("error", () => this.#finish());
    if (head.length > 0) queueMicrotask(() => this.#receive(Buffer.alloc(0)));
  }

  send(text) {
    if (!this.#closed) this.#write(OPCODE.text, Buffer.from(text));
  }

  close(code = 1000) {
    if (this.#closed) return;
    const payload = Buffer.alloc(2);
    payload.writeUInt16BE(code);
    this.#write(OPCODE.close, payload);
    this.#socket.end();
    this.#finish();
  }

  #receive(data) {
    this.#buffer = Buffer.concat([this.#buffer, data]);
    for (let frame = this.#takeFrame(); frame && !this.#closed; frame = this.#takeFrame()) {
      this.#handle(frame);
    }
  }

  /** Takes one whole frame from the buffer; a client's frames are always masked. */
  #takeFrame() {
    const buffer = this.#buffer;
    if (buffer.length < 2) return undefined;
    let length = buffer[1] & 0x7f;
    let offset = 2;
    if (length === 126) {
      if (buffer.length < 4) return undefined;
      length = buffer.readUInt16BE(2);
      offset = 4;
    } else if (length === 127) {
      if (buffer.length < 10) return undefined;
      length = Number(buffer.readBigUInt64BE(2));
      offset = 10;
    }
    if ((buffer[1] & 0x80) === 0) return this.close(1002);
    if (length > MAX_MESSAGE) return this.close(1009);
    if (buffer.length < offset + 4 + length) return undefined;
    const mask = buffer.subarray(offset, offset + 4);
    const payload = Buffer.from(buffer.subarray(offset + 4, offset + 4 + length));
    for (let i = 0; i < payload.length; i += 1) payload[i] ^= mask[i % 4];
    this.#buffer = buffer.subarray(offset + 4 + length);
    return { final: (buffer[0] & 0x80) !== 0, opcode: buffer[0] & 0x0f, payload };
  }

  #handle({ final, opcode, payload }) {
    switch (opcode) {
      case OPCODE.ping:
        return this.#write(OPCODE.pong, payload);
      case OPCODE.pong:
        return undefined;
      case OPCODE.close:
        return this.close(payload.length >= 2 ? payload.readUInt16BE(0) : 1000);
      case OPCODE.text:
      case OPCODE.continuation:
        this.#fragments.push(payload);
        if (!final) return undefined;
        this.emit("message", Buffer.concat(this.#fragments.splice(0)).toString("utf8"));
        return undefined;
      default:
        return this.close(1003);
    }
  }

  #write(opcode, payload) {
    let header;
    if (payload.length < 126) {
      header = Buffer.from([0x80 | opcode, payload.length]);
    } else if (payload.length < 65536) {
      header = Buffer.from([0x80 | opcode, 126, 0, 0]);
      header.writeUInt16BE(payload.length, 2);
    } else {
      header = Buffer.alloc(10);
      header[0] = 0x80 | opcode;
      header[1] = 127;
      header.writeBigUInt64BE(BigInt(payload.length), 2);
    }
    this.#socket.write(Buffer.concat([header, payload]));
  }

  #finish() {
    if (this.#closed) return;
    this.#closed = true;
    this.emit("close");
  }
}
