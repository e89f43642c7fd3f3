"""A gRPC server with one unary method, which asks about the token of every call like the other upstream."""

import concurrent.futures

import grpc

METHOD = "/interop.Echo/Say"
DIRECT = [("grpc.enable_http_proxy", 0)]


class Echo:
    """Answers what it was sent, to callers whose one bearer token is active."""

    def __init__(self, server):
        self.authorization_server = server
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
        handler = grpc.unary_unary_rpc_method_handler(self.say)
        service, method = METHOD.strip("/").split("/")
        self.server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {method: handler})])
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()

    def say(self, request, context):
        metadata = context.invocation_metadata()
        tokens = [value.removeprefix("Bearer ") for key, value in metadata if key == "authorization"]
        if len(tokens) != 1 or not self.authorization_server.is_active(tokens[0]):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, f"{len(tokens)} tokens, or a bad one")
        context.set_trailing_metadata([("echo-length", str(len(request)))])
        return request

    def stop(self):
        self.server.stop(None).wait()


def say(address, message, metadata=()):
    """One unary call by grpcio; the answer and its trailers."""
    with grpc.insecure_channel(address, options=DIRECT) as channel:
        answer, call = channel.unary_unary(METHOD).with_call(message, timeout=20, metadata=metadata)
        return answer, dict(call.trailing_metadata())
