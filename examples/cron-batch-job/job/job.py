"""Makes a sales report of one batch of orders, hands it over, and exits.

It takes the orders as CSV in one POST request and answers with the report as JSON. Exit code 0:
the report was delivered. Exit code 2: the orders could not be read.
"""

import csv
import io
import json
import os
import signal
import sys
import threading
from collections import defaultdict
from datetime import datetime, timezone
from decimal import Decimal, InvalidOperation
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CURRENCY = os.environ.get("CURRENCY", "EUR")
TRIGGER = os.environ.get("JOB_TRIGGER", "unknown")


def make_report(text):
    products = defaultdict(lambda: {"orders": 0, "items": 0, "revenue": Decimal(0)})
    for number, row in enumerate(csv.DictReader(io.StringIO(text)), start=2):
        try:
            quantity, price = int(row["quantity"]), Decimal(row["unit_price"])
        except (KeyError, TypeError, ValueError, InvalidOperation) as error:
            raise ValueError(f"line {number}: {error!r}") from error
        product = products[row["product"]]
        product["orders"] += 1
        product["items"] += quantity
        product["revenue"] += quantity * price
    ranked = sorted(products.items(), key=lambda item: -item[1]["revenue"])
    return {
        "trigger": TRIGGER,
        "generated_at": datetime.now(timezone.utc).isoformat(),
        "currency": CURRENCY,
        "total_revenue": str(sum((p["revenue"] for p in products.values()), Decimal(0))),
        "products": [
            {"name": name, **product, "revenue": str(product["revenue"])}
            for name, product in ranked
        ],
    }


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        # The class asks here whether the job is ready for its input.
        self.answer(200, {"status": "waiting for orders"})

    def do_POST(self):
        text = self.read_body().decode()
        print(f"Job started by {TRIGGER}: {len(text)} bytes of orders")
        try:
            report = make_report(text)
        except ValueError as error:
            print(f"Job failed: {error}", file=sys.stderr)
            self.answer(422, {"error": str(error)})
            self.server.finish(2)
            return
        print(f"Job done: {len(report['products'])} products, {report['total_revenue']} {CURRENCY}")
        self.answer(200, report)
        self.server.finish(0)

    def read_body(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    exit_code = 0

    def finish(self, exit_code):
        self.exit_code = exit_code
        threading.Thread(target=self.shutdown).start()


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    server = Server(("0.0.0.0", 8080), Handler)
    print("Job is ready for its orders")
    server.serve_forever()
    sys.exit(server.exit_code)


if __name__ == "__main__":
    main()
