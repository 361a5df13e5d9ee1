-- Outer addresses that are new
-- Outer addresses that accepted traffic from inner hosts in this time, and from none in the same length of time before: for
-- --day, the day before. With --ip only from that host or network, with --port only to that port; the time before counts for
-- all hosts and ports. Answers from ports below 1024 are ignored in both times, because the clients of a public server are not
-- destinations. If the time before has no rows, every address is new: check the coverage first. Services that change addresses
-- (clouds, content networks) are always in the result. Every recording interface adds its bytes.
SELECT dstaddr, sum(CAST(bytes AS DECIMAL(38, 0))) AS bytes, count(*) AS flows, count(DISTINCT srcaddr) AS sources,
  min(dstport) AS lowest_port, min("timestamp") AS first_seen, max("timestamp") AS last_seen
FROM {flows}
WHERE action = 'ACCEPT' AND NOT (srcport < 1024 AND dstport >= 1024) AND {inner_src} AND NOT {inner_dst}{and_src_ip}{and_to_port}
  AND dstaddr NOT IN (
    SELECT dstaddr FROM {before}
    WHERE action = 'ACCEPT' AND NOT (srcport < 1024 AND dstport >= 1024) AND {inner_src} AND dstaddr IS NOT NULL
  )
GROUP BY dstaddr
ORDER BY bytes DESC, dstaddr
LIMIT {limit}
