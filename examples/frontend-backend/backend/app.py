"""The API behind the page: analyses a text with Python's standard library."""

import json
import re
import signal
import sys
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

MAX_BODY = 1024 * 1024


def analyse(text):
    words = re.findall(r"\w+", text.lower())
    return {
        "characters": len(text),
        "words": len(words),
        "unique_words": len(set(words)),
        "most_common": Counter(words).most_common(5),
        "reading_seconds": round(len(words) / 4, 1),
    }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if urlsplit(self.path).path == "/api/health":
            version = ".".join(map(str, sys.version_info[:3]))
            return self.answer(200, {"status": "healthy", "python": version})
        return self.answer(404, {"error": "not found"})

    def do_POST(self):
        body = self.read_body()
        if body is None:
            return self.answer(413, {"error": "the text is too long"})
        if urlsplit(self.path).path != "/api/analyse":
            return self.answer(404, {"error": "not found"})
        try:
            text = json.loads(body)["text"]
        except (ValueError, KeyError, TypeError):
            return self.answer(400, {"error": 'expected {"text": "…"}'})
        return self.answer(200, analyse(str(text)))

    def read_body(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            length = int(self.headers.get("Content-Length", 0))
            return self.rfile.read(length) if length <= MAX_BODY else None
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            if len(body) + size > MAX_BODY:
                self.close_connection = True
                return None
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format, *args):
        print(format % args)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    # Connections that may wait to be accepted; the default of 5 loses some of a burst
    request_queue_size = 128


def main():
    server = Server(("0.0.0.0", 8080), Handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print("API is ready on port 8080")
    server.serve_forever()


if __name__ == "__main__":
    main()
