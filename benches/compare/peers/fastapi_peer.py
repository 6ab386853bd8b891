"""The work written by hand in Python: FastAPI with pydantic, and aiohttp's client."""
import os
import ssl
from contextlib import asynccontextmanager
from typing import Any, Literal

import aiohttp
from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

UP = {
    "order_status": os.environ["BENCH_FAST"],
    "order_status_slow": os.environ["BENCH_SLOW"],
    "order_status_tls": os.environ["BENCH_TLS"],
}


class Args(BaseModel):
    model_config = ConfigDict(extra="forbid")
    customer_id: str = Field(pattern=r"^C-[0-9]{1,10}$")
    status: Literal["open", "shipped", "delivered", "cancelled"] = "open"
    limit: int = Field(default=5, ge=1, le=50)
    city: str | None = Field(default=None, max_length=80)
    note: str | None = Field(default=None, max_length=400)


class Argument(BaseModel):
    parsed: list[dict[str, Any]]
    raw: str = ""


class Swaig(BaseModel):
    model_config = ConfigDict(extra="allow")
    function: str
    argument: Argument
    call_id: str = ""
    caller_id_num: str = ""


@asynccontextmanager
async def lifespan(app: FastAPI):
    ca = os.environ["BENCH_CA"]
    trust = ssl.create_default_context(cafile=ca if os.path.exists(ca) else None)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=512, ssl=trust)) as client:
        app.state.client = client
        yield


app = FastAPI(lifespan=lifespan)


async def call_upstream(req: Request, url: str, params: dict, headers: dict, body: dict) -> dict:
    async with req.app.state.client.post(url, params=params, headers=headers, json=body) as r:
        r.raise_for_status()
        return await r.json()


@app.post("/swaig")
async def swaig(call: Swaig, req: Request) -> dict:
    base = UP.get(call.function)
    if base is None:
        raise HTTPException(404, "no such function")
    try:
        args = Args.model_validate(call.argument.parsed[0] if call.argument.parsed else {})
    except ValidationError as e:
        return {"response": "I am missing something: " + e.errors()[0]["msg"]}
    data = await call_upstream(
        req,
        f"{base}/v1/customers/{args.customer_id}/orders",
        {"status": args.status, "limit": str(args.limit)},
        {"Authorization": "Bearer secret-token", "X-Call-Id": call.call_id},
        {
            "customer": args.customer_id,
            "filter": {"status": args.status, "limit": args.limit},
            "caller": call.caller_id_num,
            "note": args.note,
        },
    )
    name = data["customer"]["name"]["first"]
    found = [o for o in data["orders"] if o["status"] == "open"]
    if not found:
        return {"response": f"{name}, there is no open order."}
    o = found[0]
    return {
        "response": f"{name}, order {o['id']} is open. It comes to {o['total']} {o['currency']}; "
        f"{data['page']['count']} orders are on file.",
        "action": [{"set_global_data": {"order_id": o["id"], "count": data["page"]["count"]}}],
    }
