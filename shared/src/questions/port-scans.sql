-- Port scans
-- Who tried many ports of one address (--at-least, 20) with at most 3 packets each: how many ports, how many of them were
-- let through. Answers to high ports are left out, and with them scans of high ports that come from low ones. A slow scan
-- needs a longer time, one from many addresses is not seen.
SELECT srcaddr, dstaddr, count(DISTINCT dstport) AS ports,
  count(DISTINCT CASE WHEN action = 'ACCEPT' THEN dstport END) AS accepted_ports, min(dstport) AS lowest_port,
  max(dstport) AS highest_port, sum(packets) AS packets, min("timestamp") AS first_seen, max("timestamp") AS last_seen
FROM {flows}
WHERE packets <= 3 AND NOT (dstport >= 32768 AND srcport < 32768)
GROUP BY srcaddr, dstaddr
HAVING count(DISTINCT dstport) >= {at_least:20}
ORDER BY ports DESC, srcaddr, dstaddr
LIMIT {limit}
