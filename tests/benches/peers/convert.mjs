// What a Lambda function of Node streams does: envelopes of one object to enriched CSV.gz.
// Usage: node convert.mjs OBJECT NAMES OUT [records]
// With `records`, each record goes through the streams on its own, as an object; otherwise an envelope's rows at once.
import { createReadStream, createWriteStream, readFileSync } from "node:fs";
import { BlockList, isIPv6 } from "node:net";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip, createGzip } from "node:zlib";

const FIELDS =
  "version account_id interface_id srcaddr dstaddr srcport dstport protocol packets bytes start end action log_status";
const NAMES = "interface_description subnet_name vpc_name src_subnet_name dst_subnet_name";

const [source, namesPath, out, mode] = process.argv.slice(2);
const { interfaces, subnets, vpcs } = JSON.parse(readFileSync(namesPath, "utf8"));
const blocks = Object.values(subnets).flatMap((subnet) =>
  subnet.cidrs.map((cidr) => {
    const [address, length] = cidr.split("/");
    const block = new BlockList();
    block.addSubnet(address, Number(length), isIPv6(address) ? "ipv6" : "ipv4");
    return { block, length: Number(length), vpc: subnet.vpc_id, name: subnet.name || "-" };
  }),
);

const cached = (make) => {
  const known = new Map();
  return (key, ...rest) => {
    if (!known.has(key)) known.set(key, make(key, ...rest));
    return known.get(key);
  };
};
const ownNames = cached((id) => {
  const of = interfaces[id] ?? {};
  const subnet = subnets[of.subnet_id] ?? {};
  const vpc = of.vpc_id ?? subnet.vpc_id;
  return { vpc, text: [of.description, subnet.name, vpcs[vpc]?.name].map((name) => name || "-").join(",") };
});
const subnetOf = cached((_, vpc, address) => {
  if (address === "-") return "-";
  const holders = new Map();
  for (const { block, length, vpc: owner, name } of blocks) {
    if (block.check(address, isIPv6(address) ? "ipv6" : "ipv4") && !(holders.get(owner)?.length >= length)) {
      holders.set(owner, { length, name });
    }
  }
  if (holders.has(vpc)) return holders.get(vpc).name;
  return holders.size === 1 ? holders.values().next().value.name : "-";
});

function events(json) {
  const envelope = JSON.parse(json);
  return envelope.messageType === "DATA_MESSAGE" ? envelope.logEvents : [];
}

function row({ timestamp, message }) {
  const values = message.split(" ");
  const { vpc, text: own } = ownNames(values[2]);
  const names = [3, 4].map((at) => subnetOf(`${vpc} ${values[at]}`, vpc, values[at]));
  return `${new Date(timestamp).toISOString()},${values.join(",")},${own},${names.join(",")}\n`;
}

// Envelopes stand one behind the other, with nothing between them.
let rest = "";
const envelopes = new Transform({
  readableObjectMode: true,
  transform(chunk, _, done) {
    rest += chunk.toString("utf8");
    const parts = rest.split('}{"messageType"');
    rest = parts.pop();
    for (const [at, part] of parts.entries()) this.push(`${at > 0 ? '{"messageType"' : ""}${part}}`);
    if (parts.length > 0) rest = `{"messageType"${rest}`;
    done();
  },
  flush(done) {
    this.push(rest);
    done();
  },
});
const records = new Transform({
  objectMode: true,
  transform(json, _, done) {
    for (const event of events(json)) this.push(event);
    done();
  },
});
const csv = new Transform({
  writableObjectMode: true,
  construct(done) {
    this.push(`timestamp,${FIELDS.replaceAll(" ", ",")},${NAMES.replaceAll(" ", ",")}\n`);
    done();
  },
  transform(item, _, done) {
    this.push(mode === "records" ? row(item) : events(item).map(row).join(""));
    done();
  },
});

const stages = mode === "records" ? [envelopes, records, csv] : [envelopes, csv];
await pipeline(createReadStream(source), createGunzip(), ...stages, createGzip({ level: 1 }), createWriteStream(out));
