-- Prints what a run of wrk has found as one line of JSON; only at the end, so that nothing runs per request.
done = function(summary, latency)
	local e = summary.errors
	print(string.format(
		'{"requests":%d,"durationUs":%d,"bytes":%d,"p50Us":%f,"p99Us":%f,"connect":%d,"read":%d,"write":%d,"timeout":%d,"status":%d}',
		summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(99),
		e.connect, e.read, e.write, e.timeout, e.status))
end
