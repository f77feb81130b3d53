"""An engine written in another language, from proto/ alone, against a running node.

Says what it does and checks every promise of the API that it can see from outside. Exits with 0
if all held, with 1 at the first that did not.
"""

import argparse
import os
import sys
import time

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from leasehold.v1 import licensing_pb2 as v1
from leasehold.v1 import licensing_pb2_grpc as v1_grpc

DEADLINE_S = 10
RECEIPT_BYTES_MAX = 256


class Broken(Exception):
    """A promise that did not hold."""


class ReflectionV1:
    """A channel on which the library, which knows only v1alpha, asks for v1.

    The messages of the two are the same.
    """

    def __init__(self, channel):
        self.channel = channel

    def stream_stream(self, method, *arguments, **options):
        return self.channel.stream_stream(
            method.replace(".v1alpha.", ".v1."), *arguments, **options
        )


def check(holds, promise, seen=""):
    if not holds:
        raise Broken(f"{promise}; seen: {seen}")
    print(f"  ok: {promise}")


def main():
    arguments = parse_arguments()
    features = arguments.features.split(",")
    try:
        with connect(arguments) as channel:
            check_health(channel)
            check_reflection(channel)
            licensing = v1_grpc.LicensingStub(channel)
            receipt = check_checkout(licensing, features)
            receipt = check_renewal(licensing, receipt)
            check_checkin(licensing, receipt, features)
            check_refusals(licensing, receipt, features)
    except Broken as broken:
        print(f"BROKEN: {broken}", file=sys.stderr)
        return 1
    except grpc.RpcError as error:
        print(f"BROKEN: the call failed: {error.code()}: {error.details()}", file=sys.stderr)
        return 1
    print("all promises held")
    return 0


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("address", help="host:port of a node")
    parser.add_argument("--ca", help="PEM of the authority that signed the node's certificate")
    parser.add_argument("--cert", help="PEM of an engine's certificate")
    parser.add_argument("--key", help="PEM of its key")
    parser.add_argument("--server-name", help="the name in the node's certificate")
    parser.add_argument("--features", default="asr.tier1,tts.chris", help="at least two, free now")
    arguments = parser.parse_args()
    if (arguments.cert is None) != (arguments.key is None):
        parser.error("--cert and --key go together")
    if arguments.cert is not None and arguments.ca is None:
        parser.error("--cert needs --ca")
    if len(arguments.features.split(",")) < 2:
        parser.error("--features needs at least two")
    return arguments


def connect(arguments):
    if arguments.ca is None:
        print(f"plain text to {arguments.address}")
        return grpc.insecure_channel(arguments.address)
    print(f"TLS to {arguments.address}")
    credentials = grpc.ssl_channel_credentials(
        root_certificates=read(arguments.ca),
        private_key=read(arguments.key),
        certificate_chain=read(arguments.cert),
    )
    options = []
    if arguments.server_name:
        options.append(("grpc.ssl_target_name_override", arguments.server_name))
    return grpc.secure_channel(arguments.address, credentials, options)


def read(path):
    if path is None:
        return None
    with open(path, "rb") as file:
        return file.read()


def check_health(channel):
    print("health")
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ("", "leasehold.v1.Licensing"):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=DEADLINE_S)
        serving = health_pb2.HealthCheckResponse.SERVING
        check(answer.status == serving, f"health of `{service}` is SERVING", answer)


def check_reflection(channel):
    print("reflection")
    database = ProtoReflectionDescriptorDatabase(ReflectionV1(channel))
    services = sorted(database.get_services())
    check("leasehold.v1.Licensing" in services, "reflection lists Licensing", services)
    pool = DescriptorPool(database)
    service = pool.FindServiceByName("leasehold.v1.Licensing")
    methods = sorted(method.name for method in service.methods)
    check(methods == ["Checkin", "Checkout", "Renew"], "reflection describes its methods", methods)


def checkout_item(features, request_id=None):
    lines = [v1.CheckoutLine(feature=feature, units=1) for feature in features]
    return v1.CheckoutItem(request_id=request_id or os.urandom(16), lines=lines)


def checkout(licensing, item):
    answers = licensing.Checkout(v1.CheckoutRequest(items=[item]), timeout=DEADLINE_S).answers
    check(len(answers) == 1, "one item gets one answer", answers)
    return answers[0]


def check_checkout(licensing, features):
    print(f"checkout of {' and '.join(features)}")
    item = checkout_item(features)
    answer = checkout(licensing, item)
    check(answer.WhichOneof("answer") == "granted", "it is granted", answer)
    granted = answer.granted
    size = len(granted.receipt)
    check(0 < size <= RECEIPT_BYTES_MAX, f"the receipt has {size} bytes, at most 256", size)
    check(granted.valid_for_ms > 0, f"it is valid for {granted.valid_for_ms} ms", granted)
    again = checkout(licensing, item)
    check(
        again.granted.receipt == granted.receipt,
        "a repeat of the request gets the same receipt",
        again,
    )
    other = checkout(licensing, checkout_item(features[:1], item.request_id))
    check_denied(other, v1.REASON_REQUEST_REUSED, "the same request id with other content")
    return granted.receipt


def check_renewal(licensing, receipt):
    print("renew")
    started = time.monotonic()
    item = v1.RenewItem(receipt=receipt, age_ms=int((time.monotonic() - started) * 1000))
    answers = licensing.Renew(v1.RenewRequest(items=[item]), timeout=DEADLINE_S).answers
    check(len(answers) == 1, "one receipt gets one answer", answers)
    check(answers[0].WhichOneof("answer") == "renewed", "it is renewed", answers[0])
    renewed = answers[0].renewed
    check(renewed.valid_for_ms > 0, f"it is valid for {renewed.valid_for_ms} ms", renewed)
    return renewed.receipt or receipt


def check_checkin(licensing, receipt, features):
    print("check-in")
    usage = [v1.FeatureUsage(feature=features[0], recognitions=3)]
    item = v1.CheckinItem(receipt=receipt, usage=usage)
    for promise in ("it is accepted", "so is its repeat"):
        answers = licensing.Checkin(v1.CheckinRequest(items=[item]), timeout=DEADLINE_S).answers
        check(len(answers) == 1, "one receipt gets one answer", answers)
        check(answers[0].WhichOneof("answer") == "accepted", promise, answers[0])


def check_refusals(licensing, receipt, features):
    print("refusals")
    item = checkout_item(features)
    item.lines[0].units = 0
    check_denied(checkout(licensing, item), v1.REASON_BAD_REQUEST, "zero units")
    item = checkout_item([features[0], "no.such.feature"])
    check_denied(checkout(licensing, item), v1.REASON_NOT_ENTITLED, "an unknown feature")
    forged = bytearray(receipt)
    forged[-1] ^= 1
    for name, shown, reason in (
        ("a forged receipt", bytes(forged), v1.REASON_RECEIPT_INVALID),
        ("garbage for a receipt", b"garbage", v1.REASON_RECEIPT_INVALID),
        ("a receipt that was checked in", receipt, v1.REASON_RECEIPT_EXPIRED),
    ):
        renewal = v1.RenewRequest(items=[v1.RenewItem(receipt=shown)])
        answers = licensing.Renew(renewal, timeout=DEADLINE_S).answers
        check_denied(answers[0], reason, name)


def check_denied(answer, reason, name):
    is_denied = answer.WhichOneof("answer") == "denied" and answer.denied.reason == reason
    check(is_denied, f"{name} is denied as {v1.Reason.Name(reason)}", answer)


if __name__ == "__main__":
    sys.exit(main())
