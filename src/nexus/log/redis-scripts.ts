/** What the log asks of Redis in one step: each script runs whole or not at all, so that several nodes share one order and one memory of identities. */

// The stream's ids are `<sequence>-0`. Sequences never go back, also where the stream is empty again: the counter stands beside it.

/**
 * KEYS: stream, identities, counter. ARGV: window, time (ms), then identity and JSON per event.
 * Answers per event with its sequence, negative where it was there already.
 */
export const APPEND_SCRIPT = `
local window, now = tonumber(ARGV[1]), tonumber(ARGV[2])
local last = tonumber(redis.call('HGET', KEYS[3], 'sequence') or '0')
local time = tonumber(redis.call('HGET', KEYS[3], 'time') or '0')
if now > time then time = now end
local answer = {}
for i = 3, #ARGV, 2 do
	local known = redis.call('ZSCORE', KEYS[2], ARGV[i])
	if known then
		answer[#answer + 1] = -tonumber(known)
	else
		last = last + 1
		redis.call('XADD', KEYS[1], string.format('%.0f-0', last), 't', string.format('%.0f', time), 'e', ARGV[i + 1])
		redis.call('ZADD', KEYS[2], last, ARGV[i])
		answer[#answer + 1] = last
	end
end
redis.call('HSET', KEYS[3], 'sequence', string.format('%.0f', last), 'time', string.format('%.0f', time))
redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -window - 1)
return answer`;

/** KEYS: counter. ARGV: the sequence that the next one is to be beyond. */
export const SKIP_SCRIPT = `
local last = tonumber(redis.call('HGET', KEYS[1], 'sequence') or '0')
if tonumber(ARGV[1]) > last then redis.call('HSET', KEYS[1], 'sequence', ARGV[1]) end
return 1`;

/**
 * KEYS: stream. ARGV: time (ms). The id of the first entry received at or after it, or nil. Times never go back (see above), so that halving
 * the range of sequences finds it.
 */
export const SEQUENCE_AT_SCRIPT = `
local wanted = tonumber(ARGV[1])
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if not newest or tonumber(newest[2][2]) < wanted then return false end
local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
local low = tonumber(string.match(oldest[1], '%d+'))
local high = tonumber(string.match(newest[1], '%d+'))
while low < high do
	local middle = math.floor((low + high) / 2)
	local entry = redis.call('XRANGE', KEYS[1], string.format('%.0f-0', middle), '+', 'COUNT', 1)[1]
	if tonumber(entry[2][2]) >= wanted then high = middle else low = tonumber(string.match(entry[1], '%d+')) + 1 end
end
return string.format('%.0f', low)`;
