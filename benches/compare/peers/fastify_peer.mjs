// The work written by hand in Node: fastify with a schema for the body, and undici's pool.
import { existsSync, readFileSync } from 'node:fs';
import Fastify from 'fastify';
import { Pool } from 'undici';

const { PORT, BENCH_FAST, BENCH_SLOW, BENCH_TLS, BENCH_CA } = process.env;
const connect = existsSync(BENCH_CA) ? { ca: readFileSync(BENCH_CA) } : {};
const pool = (origin) => new Pool(origin, { connections: 512, pipelining: 1, connect });
const up = { order_status: pool(BENCH_FAST), order_status_slow: pool(BENCH_SLOW), order_status_tls: pool(BENCH_TLS) };
const argsSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['customer_id'],
  properties: {
    customer_id: { type: 'string', pattern: '^C-[0-9]{1,10}$' },
    status: { type: 'string', enum: ['open', 'shipped', 'delivered', 'cancelled'] },
    limit: { type: 'integer', minimum: 1, maximum: 50 },
    city: { type: 'string', maxLength: 80 },
    note: { type: 'string', maxLength: 400 },
  },
};
const bodySchema = {
  type: 'object',
  required: ['function', 'argument'],
  properties: {
    function: { type: 'string' },
    argument: {
      type: 'object', required: ['parsed'],
      properties: { parsed: { type: 'array', minItems: 1, items: argsSchema } },
    },
  },
};

async function handle(call) {
  const pool = up[call.function];
  if (!pool) return null;
  const a = call.argument.parsed[0];
  const status = a.status || 'open';
  const limit = a.limit || 5;
  const res = await pool.request({
    method: 'POST',
    path: `/v1/customers/${encodeURIComponent(a.customer_id)}/orders?status=${encodeURIComponent(status)}&limit=${limit}`,
    headers: { 'content-type': 'application/json', authorization: 'Bearer secret-token', 'x-call-id': call.call_id },
    body: JSON.stringify({ customer: a.customer_id, filter: { status, limit }, caller: call.caller_id_num, note: a.note }),
  });
  const data = await res.body.json();
  const name = data.customer.name.first;
  const o = data.orders.find((x) => x.status === 'open');
  if (!o) return { response: `${name}, there is no open order.` };
  return {
    response: `${name}, order ${o.id} is open. It comes to ${o.total} ${o.currency}; ${data.page.count} orders are on file.`,
    action: [{ set_global_data: { order_id: o.id, count: data.page.count } }],
  };
}

const fastify = Fastify({ logger: false });
fastify.post('/swaig', { schema: { body: bodySchema } }, async (req, reply) =>
  (await handle(req.body)) ?? reply.code(404).send({ error: 'no such function' }));
await fastify.listen({ port: Number(PORT), host: '127.0.0.1' });
