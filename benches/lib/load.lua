-- Short speech requests for wrk, none twice, so that no phrase is shared or kept: each is work. Counts
-- answers by status, and goes at a pace when told to.
--
--     wrk --threads 1 … --script load.lua URL -- ENGINE PAUSE_MS
--
-- PAUSE_MS stands between two requests of a connection, give or take a half; 0 asks again at once.

local threads = {}
local words = { "ace", "bat", "cow", "dot", "elm", "fog", "gem", "hut", "ink", "jar" }

function setup(thread)
    table.insert(threads, thread)
end

function init(arguments)
    engine, pause = arguments[1], tonumber(arguments[2])
    asked, spoken, refused, other = 0, 0, 0, 0
    math.randomseed(1)
    -- Each text as long as the next: a word for each digit of the run and of the count.
    run = os.time() % 1000
    body = '{"model":"' .. engine .. '","response_format":"wav","input":"%s"}'
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
    local digits = ("%03d%06d"):format(run, asked % 1000000)
    local text = digits:gsub("%d", function(digit) return words[digit + 1] .. " " end)
    return wrk.format("POST", "/v1/audio/speech", head, body:format(text))
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
