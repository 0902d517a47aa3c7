-- What wrk sends: a POST to /recommend with another shopper and another product viewed each time.
-- Arguments: METHOD PATH SHOPPERS PRODUCTS SEED. The requests are made before the clock starts.

local requests = {}
local sent = 0

function init(arguments)
  local method, path = arguments[1], arguments[2]
  local shoppers, products = tonumber(arguments[3]), tonumber(arguments[4])
  math.randomseed(tonumber(arguments[5]))
  local headers = { ["Content-Type"] = "application/json" }
  if method == "GET" then
    requests[1] = wrk.format("GET", path)
    return
  end
  for number = 1, 20000 do
    local body = string.format(
      '{"user_id":"shopper-%d","viewed_product_id":"product-%d","placement":"home"}',
      math.random(0, shoppers - 1), math.random(0, products - 1)
    )
    requests[number] = wrk.format(method, path, headers, body)
  end
end

function request()
  sent = sent + 1
  return requests[(sent - 1) % #requests + 1]
end

function done(summary, latency, rate)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"microseconds":%d,"refused":%d,"broken":%d,"p50_us":%d,"p99_us":%d}\n',
    summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)
  ))
end
