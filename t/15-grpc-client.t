#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# The client of src/grpc (t/grpc-call) with a server of the C++ core (Debian's python3-grpcio): other
# servers index header fields, use Huffman code, send PINGs and windows as they like.

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent import futures

srcdir = os.environ.get("srcdir", os.path.dirname(os.path.abspath(__file__)) + "/..")
sys.path.insert(0, os.path.join(srcdir, "t/lib"))
import tap

try:
    import grpc
except ImportError:
    tap.skip_all("python3-grpcio is not installed")
import echo

directory = tempfile.mkdtemp(prefix="coracle-grpc-")
try:
    pb = echo.stubs(directory)
    CODES = {c.value[0]: c for c in grpc.StatusCode}

    def unary(request, context):
        return pb.EchoResponse(payload=request.payload, text=request.text)

    def fail(request, context):
        context.abort(CODES[request.code], request.message)

    def slow(request, context):
        end = time.time() + request.delay_ms / 1000
        while context.is_active() and time.time() < end:
            time.sleep(0.01)
        return pb.EchoResponse(text="slept")

    def stream(request, context):
        for i in range(request.count):
            yield pb.EchoResponse(index=i, payload=bytes(request.size))
        if request.fail_code:
            context.abort(CODES[request.fail_code], "as asked")

    def handler(make, f, request):
        return make(f, request_deserializer=request.FromString, response_serializer=lambda m: m.SerializeToString())

    methods = {
        "Unary": handler(grpc.unary_unary_rpc_method_handler, unary, pb.EchoRequest),
        "Fail": handler(grpc.unary_unary_rpc_method_handler, fail, pb.FailRequest),
        "Slow": handler(grpc.unary_unary_rpc_method_handler, slow, pb.SlowRequest),
        "Stream": handler(grpc.unary_stream_rpc_method_handler, stream, pb.StreamRequest),
    }
    server = grpc.server(futures.ThreadPoolExecutor(8), options=[("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("coracle.test.Echo", methods),))
    sock = os.path.join(directory, "s")
    server.add_insecure_port("unix:" + sock)
    server.start()
    result = subprocess.call([os.path.join(echo.builddir, "t/grpc-call"), sock], timeout=240)
    server.stop(0)
finally:
    shutil.rmtree(directory, ignore_errors=True)
sys.exit(result)
