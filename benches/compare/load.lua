-- wrk script: POSTs one body again and again, and prints its figures as one line of JSON.
-- BENCH_BODY is the file with the body. Each @ID@ in it becomes a new number for each request, so that a proxy that
-- deduplicates calls by their id sees a new call each time.
local file = assert(io.open(os.getenv("BENCH_BODY"), "rb"))
local body = file:read("*a")
file:close()

wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"

if body:find("@ID@", 1, true) then
  local parts, from = {}, 1
  while true do
    local first, last = body:find("@ID@", from, true)
    parts[#parts + 1] = body:sub(from, (first or 0) - 1)
    if not first then break end
    from = last + 1
  end
  -- A number of its own for each run, since two runs must not repeat each other's ids.
  local run, count = os.time() .. "-" .. os.getenv("BENCH_RUN") .. "-", 0
  function request()
    count = count + 1
    return wrk.format(nil, nil, nil, table.concat(parts, run .. count))
  end
else
  -- Without a `request` function wrk formats the request once, and Lua costs nothing.
  wrk.body = body
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\nBENCH {"requests":%d,"duration_us":%d,"bad_status":%d,"socket_errors":%d,"timeouts":%d,' ..
    '"p50_us":%d,"p99_us":%d,"p999_us":%d,"max_us":%d}\n',
    summary.requests, summary.duration, errors.status, errors.connect + errors.read + errors.write, errors.timeout,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9), latency.max))
end
