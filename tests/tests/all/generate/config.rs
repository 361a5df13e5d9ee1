//! The rules of the generated objects.

/// Rules of each format, some for keys and some for log groups; two feed one table.
pub(crate) const CONFIG: &str = r#"
[[rule]]
name = "plain"
match = { key = "plain/*" }
table = "plain"
format = { kind = "vpc-flow" }

[[rule]]
name = "requests"
match = { key = "json/*" }
table = "requests"
metadata = ["log_group"]
format = { kind = "json", columns = [
  { name = "action", path = "/action" },
  { name = "client_ip", path = "/httpRequest/clientIp" },
  { name = "request", path = "/httpRequest" },
] }

[[rule]]
name = "strict"
match = { key = "strict/*" }
table = "strict"
required = ["action"]
bad_text = "reject"
format = { kind = "json", columns = [
  { name = "client_ip", path = "/httpRequest/clientIp" },
  { name = "action", path = "/action" },
] }

[[rule]]
name = "text"
match = { key = "text/*" }
table = "text"
format = { kind = "regex", pattern = '(?-u)^(?P<level>\w+) (?P<src>[!-~]+) -> (?P<dst>[!-9;-~]+)(?::(?P<port>[0-9]+))?$' }

[[rule]]
name = "vpc"
match = { log_group = "vpc-flow-logs*", log_stream = "eni-*" }
table = "vpc_flow"
metadata = ["owner", "log_group"]
format = { kind = "vpc-flow" }

[[rule]]
name = "five"
match = { log_group = "*-five" }
table = "vpc_flow"
metadata = ["log_stream"]
format = { kind = "vpc-flow", fields = "${vpc-id} ${subnet-id} ${interface-id} ${pkt-srcaddr} ${dstaddr} ${start} ${flow-direction} ${traffic-path}" }

[[rule]]
name = "waf"
match = { log_group = "aws-waf-logs-*" }
table = "waf"
format = { kind = "json", columns = [
  { name = "action", path = "/action" },
  { name = "client_ip", path = "/httpRequest/clientIp" },
  { name = "headers", path = "/httpRequest/headers" },
  { name = "first", path = "/httpRequest/headers/0/name" },
] }

[[rule]]
name = "ids"
match = { log_group = "/ids/*" }
table = "ids"
metadata = ["log_group"]
format = { kind = "regex", pattern = '(?-u)^(?P<level>\w+) (?P<src>[!-~]+) -> (?P<dst>[!-9;-~]+)(?::(?P<port>[0-9]+))?$', types = { port = "int" } }
"#;
