"""A bare gRPC server that gives back what it gets: what a call costs by itself."""

from __future__ import annotations

import sys

import grpc
import grpc.aio
import uvloop

from layer_kit.supervision import listening_line

METHOD = "/layer.bench.Echo/Echo"


async def serve(address: str) -> None:
    """Serve on a unix socket until the process is ended."""

    async def echo(request: bytes, _context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return request

    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(
                METHOD.split("/")[1], {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
            ),
        )
    )
    server.add_insecure_port(address)
    await server.start()
    print(listening_line({"grpc": address}), flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
