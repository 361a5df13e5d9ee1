-- Port scans
-- Sources that tried many ports of one address (--at-least, 20) with at most 3 packets each: the number of ports, and of
-- accepted ports. With --ip only from or to that address or network. Answers are ignored, from ports below 1024 to others and
-- from others to ports from 32768, and so are scans that look like answers. Not found: one port on many hosts (use
-- rejected-by-port), a scan from many addresses, a scan slower than the time of the question, and ports with more than 3
-- packets in a record, such as ports with a real connection.
SELECT srcaddr, dstaddr, count(DISTINCT dstport) AS ports,
  count(DISTINCT CASE WHEN action = 'ACCEPT' THEN dstport END) AS accepted_ports, min(dstport) AS lowest_port,
  max(dstport) AS highest_port, sum(packets) AS packets, min("timestamp") AS first_seen, max("timestamp") AS last_seen
FROM {flows}
WHERE packets <= 3 AND NOT (srcport < 1024 AND dstport >= 1024) AND NOT (srcport < 32768 AND dstport >= 32768){and_either_ip}
GROUP BY srcaddr, dstaddr
HAVING count(DISTINCT dstport) >= {at_least}
ORDER BY ports DESC, srcaddr, dstaddr
LIMIT {limit}
