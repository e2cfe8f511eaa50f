-- What wrk sends: the lines of the file BENCH_REQUEST are the body and then one header a line; those
-- of BENCH_KEYS are the bearer keys, which take turns.

local requests = {}
local turn = 0

function init(_)
   local body
   local headers = {}
   for line in io.lines(os.getenv("BENCH_REQUEST")) do
      if body == nil then
         body = line
      else
         local name, value = line:match("^([^:]+): (.*)$")
         headers[name] = value
      end
   end
   for key in io.lines(os.getenv("BENCH_KEYS")) do
      headers["authorization"] = "Bearer " .. key
      requests[#requests + 1] = wrk.format("POST", nil, headers, body)
   end
end

function request()
   turn = turn % #requests + 1
   return requests[turn]
end

function done(summary, latency, _)
   local errors = summary.errors
   local failed = errors.status + errors.connect + errors.read + errors.write + errors.timeout
   io.write(string.format(
      '{"requests": %d, "elapsed_s": %.6f, "p50_ms": %.4f, "p99_ms": %.4f, "failed": %d}\n',
      summary.requests, summary.duration / 1e6,
      latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, failed))
end
