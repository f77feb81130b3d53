"""Engines written in another language, whose calls outlive the node that licensed them.

Each call is checked out at the first of several nodes, renewed at a third of its lifetime, and
taken to the next node when one does not answer. Says `calling` once all calls run; ends them when
its standard input ends. Exits with 0 if no call was without a license for a moment, 1 if one was.
"""

import argparse
import os
import sys
import threading
import time

import grpc
from leasehold.v1 import licensing_pb2 as v1
from leasehold.v1 import licensing_pb2_grpc as v1_grpc

# Short against a checkout's lifetime, so that another node can be asked in time.
DEADLINE_S = 2
# What the engine's clock may be wrong by, as the protocol has it.
CLOCK_ERROR = 0.01
PAUSE_S = 0.1


class Lapsed(Exception):
    """A call that ran on without a license."""


class Call:
    """One call; its license is good until `deadline`, counted from the sending of the request."""

    def __init__(self, nodes, features):
        self.nodes = nodes
        self.node = 0
        self.moves = 0
        self.checkout(features)

    def checkout(self, features):
        lines = [v1.CheckoutLine(feature=feature, units=1) for feature in features]
        item = v1.CheckoutItem(request_id=os.urandom(16), lines=lines)
        sent = time.monotonic()
        request = v1.CheckoutRequest(items=[item])
        answer = self.nodes[self.node].Checkout(request, timeout=DEADLINE_S).answers[0]
        if answer.WhichOneof("answer") != "granted":
            raise Lapsed(f"no license: {answer}")
        self.take(sent, answer.granted)

    def take(self, sent, granted):
        self.receipt = granted.receipt or self.receipt
        self.sent = sent
        self.valid_for = granted.valid_for_ms / 1000 * (1 - CLOCK_ERROR)

    def left(self):
        return self.sent + self.valid_for - time.monotonic()

    def renew(self):
        """Until a node has renewed it: others are asked when one can't."""
        while True:
            sent = time.monotonic()
            if self.left() <= 0:
                raise Lapsed("no node renewed the checkout before its deadline")
            item = v1.RenewItem(receipt=self.receipt, age_ms=int((sent - self.sent) * 1000))
            request = v1.RenewRequest(items=[item])
            try:
                answer = self.nodes[self.node].Renew(request, timeout=DEADLINE_S).answers[0]
            except grpc.RpcError:
                answer = None
            if answer is not None and answer.WhichOneof("answer") == "renewed":
                if self.left() <= 0:
                    raise Lapsed("the answer came after the deadline that it was to extend")
                return self.take(sent, answer.renewed)
            if answer is not None and answer.denied.retry_after_ms == 0:
                raise Lapsed(f"the checkout has ended: {answer.denied}")
            self.node = (self.node + 1) % len(self.nodes)
            self.moves += 1
            time.sleep(PAUSE_S)

    def run(self, stop):
        while not stop.wait(max(0, self.left() - self.valid_for * 2 / 3)):
            self.renew()
        self.renew()
        item = v1.CheckinItem(receipt=self.receipt)
        request = v1.CheckinRequest(items=[item])
        self.nodes[self.node].Checkin(request, timeout=DEADLINE_S)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("addresses", help="host:port of each node, with commas between")
    parser.add_argument("--ca", required=True)
    parser.add_argument("--cert", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--features", default="asr.tier1,tts.chris")
    parser.add_argument("--calls", type=int, default=10)
    arguments = parser.parse_args()
    files = (arguments.ca, arguments.key, arguments.cert)
    credentials = grpc.ssl_channel_credentials(*map(read, files))
    addresses = arguments.addresses.split(",")
    channels = [grpc.secure_channel(address, credentials) for address in addresses]
    nodes = [v1_grpc.LicensingStub(channel) for channel in channels]
    calls = [Call(nodes, arguments.features.split(",")) for _ in range(arguments.calls)]
    print("calling", flush=True)

    stop, lapsed = threading.Event(), []
    threads = [threading.Thread(target=watch, args=(call, stop, lapsed)) for call in calls]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join()
    if lapsed:
        print(f"BROKEN: {len(lapsed)} calls lost their license: {lapsed[0]}", file=sys.stderr)
        return 1
    moved = sum(call.moves > 0 for call in calls)
    print(f"no call was without a license; {moved} of {len(calls)} moved to another node")
    return 0


def watch(call, stop, lapsed):
    try:
        call.run(stop)
    except (Lapsed, grpc.RpcError) as error:
        lapsed.append(error)


def read(path):
    with open(path, "rb") as file:
        return file.read()


if __name__ == "__main__":
    sys.exit(main())
