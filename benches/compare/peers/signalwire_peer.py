"""The work written with the SignalWire agents SDK, as its examples do it: a plain function that calls the API with
requests. The SDK calls that function inside its async request handler, so one slow upstream holds up every other call
of the process."""
import os

import requests
from signalwire_agents import AgentBase, SwaigFunctionResult

UP = {
    "order_status": os.environ["BENCH_FAST"],
    "order_status_slow": os.environ["BENCH_SLOW"],
    "order_status_tls": os.environ["BENCH_TLS"],
}
session = requests.Session()
session.trust_env = False
if os.path.exists(os.environ["BENCH_CA"]):
    session.verify = os.environ["BENCH_CA"]


def run(fn, args, raw):
    r = session.post(
        f"{UP[fn]}/v1/customers/{args['customer_id']}/orders",
        params={"status": args.get("status", "open"), "limit": args.get("limit", 5)},
        headers={"Authorization": "Bearer secret-token", "X-Call-Id": raw.get("call_id", "")},
        json={
            "customer": args["customer_id"],
            "filter": {"status": args.get("status"), "limit": args.get("limit")},
            "caller": raw.get("caller_id_num"),
            "note": args.get("note"),
        },
        timeout=10,
    )
    data = r.json()
    name = data["customer"]["name"]["first"]
    found = [o for o in data["orders"] if o["status"] == "open"]
    if not found:
        return SwaigFunctionResult(f"{name}, there is no open order.")
    o = found[0]
    res = SwaigFunctionResult(
        f"{name}, order {o['id']} is open. It comes to {o['total']} {o['currency']}; "
        f"{data['page']['count']} orders are on file."
    )
    res.add_action("set_global_data", {"order_id": o["id"], "count": data["page"]["count"]})
    return res


class Bench(AgentBase):
    def __init__(self):
        super().__init__(
            name="bench", route="/", host="127.0.0.1",
            port=int(os.environ["PORT"]), basic_auth=("bench", "bench"),
        )
        params = {
            "customer_id": {"type": "string", "description": "customer number"},
            "status": {"type": "string", "enum": ["open", "shipped", "delivered", "cancelled"]},
            "limit": {"type": "integer", "description": "how many"},
            "city": {"type": "string", "description": "city"},
            "note": {"type": "string", "description": "note"},
        }
        for fn in UP:
            self.define_tool(
                name=fn, description="look up the orders of a customer", parameters=params,
                handler=lambda args, raw, fn=fn: run(fn, args, raw), secure=False,
                required=["customer_id"],
            )


if __name__ == "__main__":
    Bench().serve()
