"""The routes: `POST /predict`, `GET /health`, the page at `/`, OpenAPI at `/docs` and `/openapi.json`."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.security import APIKeyHeader
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect

from experiments.lung_detector.service.batches import Batches, Memory, Places, Predicts
from experiments.lung_detector.service.images import Limits, Slice, read_slice
from experiments.lung_detector.service.picture import annotated_png
from experiments.lung_detector.service.refusal import Refusal
from experiments.lung_detector.service.upload import FORM, LingeringClose, read_upload
from nas.errors import NASError

if TYPE_CHECKING:
    from experiments.lung_detector.predictor import Detections

T = TypeVar("T")

LOOPBACK = ("localhost", "127.0.0.1", "::1", "[::1]")
PAGE_POLICY = (  # the page loads nothing from elsewhere and cannot be framed
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
FILE = {"type": "string", "format": "binary"}
BODY = {
    "requestBody": {
        "required": True,
        "content": {
            FORM: {"schema": {"type": "object", "properties": {"file": FILE}, "required": ["file"]}},
            "image/png": {"schema": FILE},
            "application/dicom": {"schema": FILE},
        },
    }
}


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the service.

    Attributes:
        key: Content of the header X-API-Key. If None, no key is needed, and only loopback names are served.
        limits: Limits of an upload.
        places: Maximum number of uploaded images that wait or are predicted at a time. All uploads together hold at
            most as many bytes as so many largest ones.
        largest_batch: Maximum number of images that are predicted together.
        upload_seconds: Maximum time of an upload.
        answer_seconds: Maximum time from the end of the upload to the answer.
        linger_seconds: See `LingeringClose`.
    """

    key: str | None
    limits: Limits = field(default_factory=Limits)
    places: int = 16
    largest_batch: int = 8
    upload_seconds: float = 30.0
    answer_seconds: float = 30.0
    linger_seconds: float = 2.0


class Detection(BaseModel):
    """One detection. box: x0, y0, x1, y1 in pixels of the uploaded image. score: probability, 0 to 1."""

    box: tuple[float, float, float, float]
    score: float
    label: str


class Prediction(BaseModel):
    """The detections of one image, highest score first."""

    width: int
    height: int
    detections: list[Detection]


class Health(BaseModel):
    """State of the service. at_work: number of requests that occupy one of `places`."""

    status: str
    classes: list[str]
    key_required: bool
    at_work: int
    places: int


class Problem(BaseModel):
    """The reason of a refusal in one line: got, expected, fix."""

    detail: str


ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/png": {"schema": FILE}}, "description": "The slice with boxes, or the boxes"},
    400: {"model": Problem, "description": "A broken file or form"},
    401: {"model": Problem, "description": "No key, or a wrong one"},
    408: {"model": Problem, "description": "The upload took too long"},
    413: {"model": Problem, "description": "Too many bytes or pixels"},
    415: {"model": Problem, "description": "Neither PNG nor uncompressed DICOM"},
    422: {"model": Problem, "description": "Not one CT slice"},
    429: {"model": Problem, "description": "Too many requests at work"},
}


class Answers:
    """Answers of the service to uploaded slices.

    Args:
        predictor: A loaded predictor.
        settings: Settings of the service.
    """

    def __init__(self, predictor: Predicts, settings: Settings) -> None:
        self.settings, self.classes = settings, list(predictor.classes)
        self.memory = Memory(settings.places * settings.limits.most_bytes)
        self.places, self.batches = Places(settings.places), Batches(predictor, settings.largest_batch)
        self.readers = ThreadPoolExecutor(2, thread_name_prefix="reader")

    def close(self) -> None:
        """End the threads."""
        self.batches.close()
        self.readers.shutdown(wait=False, cancel_futures=True)

    async def of(self, request: Request) -> Response:
        """Read the upload of a request and answer it.

        Args:
            request: The request.

        Returns:
            The annotated PNG, or the boxes as JSON if the client prefers it.

        Raises:
            Refusal: If the upload is too slow, too large or no CT slice, or the service is too busy.
        """
        settings = self.settings
        with self.memory.share() as held:
            try:
                upload = read_upload(request, settings.limits.most_bytes, held.take)
                content = await asyncio.wait_for(upload, settings.upload_seconds)
            except asyncio.TimeoutError as error:
                took = f"an upload of more than {settings.upload_seconds:g} s"
                raise Refusal(408, took, "a faster one", "send it again") from error
            with self.places.one():  # only now, so that slow uploads do not take the places of others
                try:
                    as_json = prefers_json(request.headers.get("accept", "*/*"))
                    return await asyncio.wait_for(self._of_slice(content, as_json), settings.answer_seconds)
                except asyncio.TimeoutError as error:
                    waited = f"no free predictor in {settings.answer_seconds:g} s"
                    raise Refusal(429, waited, "a less busy service", "send it again in a while") from error

    async def _of_slice(self, content: bytes, as_json: bool) -> Response:
        image = await self._aside(read_slice, content, self.settings.limits)
        try:
            found = await self.batches.predict(image)
        except NASError as error:
            raise Refusal(422, error.got, error.expected, error.fix) from error
        if as_json:
            return JSONResponse(prediction(image, found).model_dump())
        return Response(await self._aside(annotated_png, image.shown(), found, self.classes), media_type="image/png")

    async def _aside(self, work: Callable[..., T], *given: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.readers, work, *given)


def create_app(predictor: Predicts, settings: Settings) -> FastAPI:
    """Make the application.

    Args:
        predictor: A loaded predictor.
        settings: Settings of the service.

    Returns:
        The application.
    """
    answers = Answers(predictor, settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        answers.close()

    app = FastAPIOffline(
        title="VoxNAS lung-tumour detector",
        description="Boxes around lung tumours in one CT slice. For research; not a medical device.",
        redoc_url=None,
        redirect_slashes=False,  # to whatever the header Host names
        lifespan=lifespan,
    )
    app.add_middleware(LingeringClose, seconds=settings.linger_seconds)
    if settings.key is None:  # keeps pages of other sites from a service without a key (DNS rebinding)
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=LOOPBACK, www_redirect=False)
    app.add_exception_handler(Refusal, _refuse)
    app.add_exception_handler(ClientDisconnect, _answer_disconnected)
    app.add_exception_handler(Exception, _answer_defect)
    _add_routes(app, answers, settings.key)
    return app


def _add_routes(app: FastAPI, answers: Answers, key: str | None) -> None:
    async def check_key(
        given: Annotated[str | None, Depends(APIKeyHeader(name="X-API-Key", auto_error=False))],
    ) -> None:
        if key is not None and not hmac.compare_digest((given or "").encode(), key.encode()):
            raise Refusal(401, "no key, or a wrong one", "the service's key", "send it in the header X-API-Key")

    @app.post(
        "/predict",
        summary="Detect tumours in one PNG or DICOM slice",
        dependencies=[Depends(check_key)],
        response_model=Prediction,
        responses=ANSWERS,
        openapi_extra=BODY,
    )
    async def predict(request: Request) -> Response:
        """Return the annotated PNG, or with `Accept: application/json` the boxes as JSON."""
        return await answers.of(request)

    @app.get("/health", summary="Whether the service answers")
    async def health() -> Health:
        return Health(
            status="ok",
            classes=answers.classes,
            key_required=key is not None,
            at_work=answers.places.taken,
            places=answers.places.count,
        )

    page = (resources.files(__package__) / "page.html").read_text(encoding="utf-8")

    @app.get("/", include_in_schema=False)
    async def drop_page() -> HTMLResponse:
        return HTMLResponse(page, headers={"Content-Security-Policy": PAGE_POLICY})


def prediction(image: Slice, found: Detections) -> Prediction:
    """Return the JSON answer for a slice.

    Args:
        image: The slice.
        found: Its boxes.

    Returns:
        The answer.
    """
    rows = zip(found.boxes_N4.tolist(), found.scores_N.tolist(), found.labels, strict=True)
    height, width = image.pixels_HW.shape
    return Prediction(
        width=width,
        height=height,
        detections=[Detection(box=tuple(box), score=score, label=label) for box, score, label in rows],
    )


def prefers_json(accept: str) -> bool:
    """Return whether a client prefers JSON to PNG; of equal weights PNG is preferred.

    Args:
        accept: The header Accept.

    Returns:
        True for JSON.
    """
    weights: dict[str, float] = {}
    for part in accept.split(","):
        kind, *parameters = (word.strip().lower() for word in part.split(";"))
        weight = [word.removeprefix("q=") for word in parameters if word.startswith("q=")]
        try:
            weights[kind] = float(weight[0]) if weight else 1.0
        except ValueError:
            weights[kind] = 0.0
    json, png = (
        next((weights[kind] for kind in kinds if kind in weights), 0.0)
        for kinds in (("application/json", "application/*", "*/*"), ("image/png", "image/*", "*/*"))
    )
    return json > png


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    headers = {401: {"WWW-Authenticate": "APIKey"}, 429: {"Retry-After": "1"}}
    return JSONResponse({"detail": str(error)}, error.status, headers.get(error.status))


async def _answer_disconnected(request: Request, error: Exception) -> Response:
    return Response(status_code=400)  # which no client reads


async def _answer_defect(request: Request, error: Exception) -> Response:
    return JSONResponse({"detail": "the service failed on this request; see its log"}, 500)
