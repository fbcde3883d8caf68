"""The demo's HTTP server: one page, its API (described at /openapi.json), limits on what it takes."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, File, Form, HTTPException, Request, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from omegaconf import DictConfig
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from src.demo.examples import NAMES, example

PAGE = Path(__file__).parent / "page"
FILES = {"": "index.html", "demo.css": "demo.css", "demo.js": "demo.js"}  # by the URL's path
WAITING = 16  # requests that may wait for their turn
MASK_PIXELS = 4_000_000
POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
logger = logging.getLogger("src.demo")


class ModelLoader:
    """Loads the models in a thread: their libraries take longer to import than the page may take to answer."""

    def __init__(self, checkpoints: Sequence[Path], cfg: DictConfig) -> None:
        self.checkpoints, self.cfg = checkpoints, cfg
        self.models: Future[list[tuple[str, Any]]] = Future()

    def start(self, on_failure: Callable[[], object]) -> None:
        """Load; `on_failure` is called if that fails."""

        def load() -> None:
            # One thread a request: decoding takes small steps, and requests beside each other share the cores.
            os.environ.setdefault("OMP_NUM_THREADS", "1")
            try:
                from src.demo.models import load_models

                self.models.set_result(load_models(self.checkpoints, self.cfg))
                logger.info("Models: %s", ", ".join(name for name, _ in self.models.result()))
            except BaseException as error:
                self.models.set_exception(error)
                on_failure()

        threading.Thread(target=load, daemon=True).start()

    def raise_failure(self) -> None:
        """Raise what kept the models from being loaded."""
        if self.models.done():
            self.models.result()


class Guard:
    """Every answer with HEADERS; refuses too large requests before they are stored.

    Args:
        app: the application behind.
        max_bytes: of a request.
        hosts: names that the server may be called by; None: any.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, hosts: Collection[str] | None) -> None:
        self.app, self.max_bytes, self.hosts = app, max_bytes, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_bytes:
                await drain(message, receive)
                raise self.refusal()
            return message

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] += [(key.encode(), value.encode()) for key, value in HEADERS.items()]
            await send(message)

        headers = Headers(scope=scope)
        length, host = headers.get("content-length", "0"), headers.get("host", "")
        refused = None
        if self.hosts is not None and re.sub(r":\d+$", "", host) not in self.hosts:
            refused = HTTPException(400, "The server goes by another name: open the address that it printed.")
        elif length.isdecimal() and int(length) > self.max_bytes:
            refused = self.refusal()
        if refused is None:
            await self.app(scope, counted, with_headers)
        else:
            answer = JSONResponse({"detail": refused.detail}, refused.status_code, {"Connection": "close"})
            await drain({"more_body": True}, receive)
            await answer(scope, receive, with_headers)

    def refusal(self) -> HTTPException:
        """413, in a sentence."""
        limit = self.max_bytes / 2**20
        return HTTPException(413, f"The upload is larger than the limit of {limit:g} MiB: make it smaller.")


async def drain(message: Message, receive: Receive) -> None:
    """Read what is left of a request and drop it: a client that is still sending would not read the answer."""
    while message.get("more_body"):
        message = await receive()


def build_app(loader: ModelLoader, cfg: DictConfig) -> FastAPI:
    """The application. No path or file name of a client is ever opened."""
    app = FastAPI(title="Trained models on a page", docs_url=None, redoc_url=None)  # those pages use a CDN
    # A page elsewhere may have its own name point at this machine.
    hosts = None if cfg.host in ("0.0.0.0", "::") else {"127.0.0.1", "localhost", "[::1]", cfg.host}
    app.add_middleware(Guard, max_bytes=cfg.max_mib * 2**20, hosts=hosts)
    slots = asyncio.Semaphore(cfg.parallel)
    waiting = 0

    @app.exception_handler(RequestValidationError)
    async def explain(_: Request, error: RequestValidationError) -> Response:
        found = "; ".join(f"{each['loc'][-1]}: {each['msg']}" for each in error.errors())
        return JSONResponse({"detail": f"The request is not complete: {found}."}, 422)

    @app.exception_handler(AnyHTTPException)
    async def answer(_: Request, error: AnyHTTPException) -> Response:
        return JSONResponse({"detail": str(error.detail)}, error.status_code, error.headers)

    @app.get("/api/models")
    async def models() -> list[dict[str, Any]]:
        """The models, once they are loaded."""
        loaded = await asyncio.shield(asyncio.wrap_future(loader.models))
        return [{"name": name, "task": model.task, "grey": model.is_grey} for name, model in loaded]

    @app.get("/api/examples")
    async def examples() -> list[str]:
        """The names of the example images; /api/examples/0 is the first one's PNG."""
        return list(NAMES)

    @app.get("/api/examples/{number}", response_class=Response)
    def one_example(number: int) -> Response:
        if not 0 <= number < len(NAMES):
            raise HTTPException(404, f"There are {len(NAMES)} examples, counted from 0.")
        return Response(example(number), media_type="image/png")

    @app.post("/api/predict")
    async def predict(
        image: Annotated[UploadFile, File(description="an image file")],
        model: Annotated[int, Form(description="its place in /api/models", ge=0)] = 0,
        mask: Annotated[UploadFile | None, File(description="bright where the image is hidden")] = None,
        invert: Annotated[bool, Form(description="turn dark on light into light on dark")] = False,
    ) -> dict[str, Any]:
        """Labels or captions of an image."""
        nonlocal waiting
        loaded = await asyncio.shield(asyncio.wrap_future(loader.models))
        if model >= len(loaded):
            raise HTTPException(404, f"There are {len(loaded)} models, counted from 0.")
        if waiting >= WAITING:
            raise HTTPException(
                503, "Too many requests at once: try again in a moment.", {"Retry-After": "1"}
            )
        waiting += 1
        try:
            async with slots:
                return await run_in_threadpool(_answer, loaded[model][1], image, mask, invert, cfg.max_pixels)
        finally:
            waiting -= 1

    @app.get("/", include_in_schema=False)
    @app.get("/{name}", include_in_schema=False)
    async def page(name: str = "") -> Response:
        if name not in FILES:
            raise HTTPException(404, "There is no such page.")
        return FileResponse(PAGE / FILES[name])

    return app


def _answer(
    model: Any, upload: UploadFile, mask: UploadFile | None, invert: bool, max_pixels: int
) -> dict[str, Any]:
    """What a model makes of an upload; 400 for one that is no image."""
    from src.demo.models import hidden, picture
    from src.images import BrokenImage, read_image

    try:
        image, _ = read_image(upload.file, model.predictor.value_range, max_pixels)
        if mask is not None:
            image = hidden(image, read_image(mask.file, max_pixels=MASK_PIXELS)[0])
    except BrokenImage as error:
        text = str(error)
        raise HTTPException(400, f"{text[:1].upper()}{text[1:]}.") from error
    return {"task": model.task, "picture": picture(image), **model(image, invert=invert)}
