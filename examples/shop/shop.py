#!/usr/bin/env python3
"""The shop: counts its visitors in redis and says so over HTTP.

    GET /         the page, with the number of visits
    GET /healthz  "ok" when redis answers

Needs nothing beside Python's own library: redis' protocol (RESP) is a line and a length.
    shop.py --name acme --redis 10.20.0.13:6379 --listen 0.0.0.0:8000
"""

import argparse
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def redis(address, *words):
    """One command and its reply: an integer, a string, or an exception with redis' own words."""
    command = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in (word.encode() for word in words))
    with socket.create_connection(address, timeout=2) as connection:
        connection.sendall(command)
        reply = connection.makefile("rb").readline().rstrip(b"\r\n").decode()
    kind, rest = reply[:1], reply[1:]
    if kind == "-" or not kind:
        raise OSError(f"redis at {address[0]}:{address[1]}: {rest or 'closed the connection'}")
    return int(rest) if kind == ":" else rest


class Shop(BaseHTTPRequestHandler):
    """Answers with the number of visits, or with what is wrong."""

    def do_GET(self):
        try:
            if self.path == "/healthz":
                redis(self.server.redis, "PING")
                self.answer(200, "ok")
            else:
                visits = redis(self.server.redis, "INCR", "visits")
                self.answer(200, f"{self.server.shop}: visit {visits}")
        except OSError as fault:
            self.answer(503, f"{self.server.shop}: the counter does not answer: {fault}")

    def answer(self, status, text):
        body = (text + "\n").encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, form, *values):
        print(self.client_address[0], form % values, file=sys.stderr, flush=True)


def endpoint(text):
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--name", default="shop", help="what the page calls itself")
    options.add_argument("--redis", type=endpoint, required=True, help="where redis answers")
    options.add_argument("--listen", type=endpoint, default=("0.0.0.0", 8000), help="where to answer")
    chosen = options.parse_args()
    server = ThreadingHTTPServer(chosen.listen, Shop)
    server.shop, server.redis = chosen.name, chosen.redis
    server.serve_forever()


if __name__ == "__main__":
    main()
