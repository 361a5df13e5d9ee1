-- Outer addresses that are new
-- Where inner hosts sent to with success in this time, and nobody in the same length of time before: for --day, the day
-- before. Answers from ports below 1024 are left out, in both times: the clients of a public server are no destinations.
-- What has no rows in the time before is all new: look at the coverage first. Services that change addresses (clouds,
-- content networks) are always among them. Bytes are as recorded, at each interface on the way.
SELECT dstaddr, sum(CAST(bytes AS DECIMAL(38, 0))) AS bytes, count(*) AS flows, count(DISTINCT srcaddr) AS sources,
  min(dstport) AS lowest_port, min("timestamp") AS first_seen, max("timestamp") AS last_seen
FROM {flows}
WHERE action = 'ACCEPT' AND NOT (srcport < 1024 AND dstport >= 1024) AND {inner_src} AND NOT {inner_dst}
  AND dstaddr NOT IN (
    SELECT dstaddr FROM {before}
    WHERE action = 'ACCEPT' AND NOT (srcport < 1024 AND dstport >= 1024) AND {inner_src} AND dstaddr IS NOT NULL
  )
GROUP BY dstaddr
ORDER BY bytes DESC, dstaddr
LIMIT {limit}
