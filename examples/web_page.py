"""A page that shows an answer while it is made: `uv run uvicorn --app-dir examples web_page:app`."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, StreamingResponse

from brainwires_provider import AsyncClient

PAGE = """<!doctype html><title>Ask</title><form onsubmit="ask(event)"><input name=q><button>Ask</button></form>
<p id=answer></p><script>function ask(e) { e.preventDefault(); answer.textContent = ""
  const source = new EventSource("/answer?q=" + encodeURIComponent(e.target.q.value))
  source.onmessage = m => answer.textContent += JSON.parse(m.data)
  source.addEventListener("end", () => source.close()) }</script>"""


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with AsyncClient("local:") as app.state.client:  # one for all visitors
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/", response_class=HTMLResponse)
async def page() -> str:
    return PAGE


@app.get("/answer")
async def answer(q: str) -> StreamingResponse:
    async def events():
        async with app.state.client.stream(q, max_tokens=100) as stream:
            async for text in stream.text_stream():
                yield f"data: {json.dumps(text)}\n\n"
        yield "event: end\ndata: {}\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")
