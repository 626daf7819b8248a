-- Short speech requests for wrk, none twice, so that no phrase is shared or kept: each is work. Counts
-- answers by status, and goes at a pace when told to.
--
--     wrk --threads 1 … --script load.lua URL -- ENGINE PAUSE_MS
--
-- PAUSE_MS stands between two requests of a connection, give or take a half; 0 asks again at once.

local threads = {}

function setup(thread)
    table.insert(threads, thread)
end

function init(arguments)
    engine, pause = arguments[1], tonumber(arguments[2])
    asked, spoken, refused, other = 0, 0, 0, 0
    math.randomseed(1)
    -- Long numbers take long to say: a few digits that no earlier run had, and the count.
    local run = os.time() % 997
    body = '{"model":"' .. engine .. '","response_format":"wav","input":"' .. run .. ', %d."}'
    head = { ["Content-Type"] = "application/json", ["Host"] = "localhost" }
end

function delay()
    if pause == 0 then
        return 0
    end
    return math.floor(pause * (0.5 + math.random()))
end

function request()
    asked = asked + 1
    return wrk.format("POST", "/v1/audio/speech", head, body:format(asked))
end

function response(status)
    if status == 200 then
        spoken = spoken + 1
    elseif status == 503 then
        refused = refused + 1
    else
        other = other + 1
    end
end

function done(summary)
    local sums = { spoken = 0, refused = 0, other = 0 }
    for _, thread in ipairs(threads) do
        for name in pairs(sums) do
            sums[name] = sums[name] + thread:get(name)
        end
    end
    local errors = summary.errors
    local line = 'FIGURES {"spoken":%d,"refused":%d,"other":%d,"broken":%d,"seconds":%f}\n'
    local broken = errors.connect + errors.read + errors.write + errors.timeout
    io.write(line:format(sums.spoken, sums.refused, sums.other, broken, summary.duration / 1e6))
end
