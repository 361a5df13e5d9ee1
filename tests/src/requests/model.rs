//! The services' own models, as botocore ships them (`make test` installs it): which operation a request is, and whether
//! its members are known, complete, and within the model's enumerations, patterns and bounds.

use std::{fs, io::Read, path::Path};

use flate2::read::MultiGzDecoder;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::{Call, xml};
use crate::recording_proxy::Request;

/// Headers that belong to HTTP, to the signature or to the SDK, and are no member of an operation.
const HEADERS_OF_THE_PROTOCOL: [&str; 10] = [
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-decoded-content-length",
    "x-amz-security-token",
    "x-amz-target",
    "x-amz-trailer",
    "x-amz-user-agent",
    "x-amzn-query-mode",
    "x-amzn-trace-id",
    "x-amz-api-version",
];

/// Headers without `x-amz-` that change what an operation does. An operation whose model lacks one ignores it.
const HEADERS_WITH_EFFECT: [&str; 7] = [
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
    "range",
    "content-md5",
    "content-encoding",
];

/// The models of the services that Flowherd's workers and coordinators call.
#[derive(Debug)]
pub struct Models {
    s3: Model,
    sqs: Model,
}

#[derive(Debug)]
struct Model {
    service: &'static str,
    operations: Map<String, Value>,
    shapes: Map<String, Value>,
}

impl Models {
    /// Reads the models from the project's `.venv`.
    ///
    /// # Panics
    /// If botocore is not installed.
    #[must_use]
    pub fn load() -> Self {
        Self { s3: Model::load("s3", "2006-03-01"), sqs: Model::load("sqs", "2012-11-05") }
    }

    /// Returns the operation and the input of a request.
    ///
    /// # Errors
    /// Why AWS would refuse the request, or ignore a part of it.
    pub fn call(&self, request: &Request) -> Result<Call, String> {
        let call = match request.header("x-amz-target") {
            Some(target) => self.sqs.json_call(request, target),
            None => self.s3.rest_call(request),
        };
        call.map_err(|why| format!("{} {}: {why}", request.method, request.target))
    }
}

impl Model {
    fn load(service: &'static str, version: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let libraries = root.join(".venv/lib");
        let pythons = fs::read_dir(&libraries)
            .unwrap_or_else(|error| panic!("{}: {error}; `make test` installs it", libraries.display()));
        let file = format!("site-packages/botocore/data/{service}/{version}/service-2.json.gz");
        let path = pythons
            .map(|python| python.unwrap().path().join(&file))
            .find(|path| path.exists())
            .unwrap_or_else(|| panic!("no {file} in {}: `make test` installs it", libraries.display()));
        let mut text = String::new();
        MultiGzDecoder::new(fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
        let mut model: Map<String, Value> = serde_json::from_str(&text).unwrap();
        let mut part = |name: &str| match model.remove(name) {
            Some(Value::Object(part)) => part,
            part => panic!("{service}: {name} is {part:?}"),
        };
        Self { service, operations: part("operations"), shapes: part("shapes") }
    }

    fn shape(&self, name: &Value) -> &Value {
        &self.shapes[name.as_str().expect("a shape's name")]
    }

    /// Reads a request of the JSON protocol: the operation is in a header, all input in the body.
    fn json_call(&self, request: &Request, target: &str) -> Result<Call, String> {
        let operation = target.strip_prefix("AmazonSQS.").ok_or_else(|| format!("no model for {target}"))?;
        let known = self.operations.get(operation).ok_or_else(|| format!("no operation {operation}"))?;
        if (request.method.as_str(), request.target.as_str()) != ("POST", "/") {
            return Err("the JSON protocol posts to /".to_owned());
        }
        if request.header("content-type") != Some("application/x-amz-json-1.0") {
            return Err(format!("content type {:?}", request.header("content-type")));
        }
        let body: Value = serde_json::from_slice(&request.body).map_err(|error| error.to_string())?;
        self.check(operation, &known["input"]["shape"], &body)?;
        let Value::Object(input) = body else { return Err(format!("{operation}: no object")) };
        Ok(self.new_call(operation, input, request))
    }

    fn new_call(&self, operation: &str, input: Map<String, Value>, request: &Request) -> Call {
        Call { service: self.service, operation: operation.to_owned(), input, body_bytes: request.body.len() }
    }

    /// Reads a request of the REST protocol: exactly one operation fits method, path and query.
    fn rest_call(&self, request: &Request) -> Result<Call, String> {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let query: Vec<(String, String)> =
            query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect();
        let fits = |operation: &&String| self.fits(operation, &request.method, path, &query);
        let found: Vec<&String> = self.operations.keys().filter(fits).collect();
        let [operation] = found.as_slice() else {
            return Err(format!("not exactly one operation, but {found:?}"));
        };
        self.rest_input(operation, request, path, &query)
    }

    fn fits(&self, operation: &str, method: &str, path: &str, query: &[(String, String)]) -> bool {
        let http = &self.operations[operation]["http"];
        let uri = http["requestUri"].as_str().unwrap_or_default();
        let (uri_path, uri_query) = uri.split_once('?').unwrap_or((uri, ""));
        let is_of_key = uri_path == "/{Bucket}/{Key+}";
        if http["method"] != method || !(is_of_key || uri_path == "/{Bucket}") || is_of_key != has_key(path) {
            return false;
        }
        let fixed: Vec<(String, String)> =
            uri_query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect();
        if !fixed.iter().all(|pair| query.contains(pair)) {
            return false;
        }
        let input = self.input(operation);
        let members = input["members"].as_object().expect("members");
        let of_query = |name: &str| {
            members
                .values()
                .any(|member| member["location"] == "querystring" && member["locationName"] == name)
        };
        let is_required = |name: &str| {
            input["required"].as_array().is_some_and(|all| all.iter().any(|required| required == name))
        };
        // A query parameter that the model lacks belongs to another operation.
        query.iter().all(|(name, value)| {
            let is_fixed = fixed.iter().any(|(fixed, _)| fixed == name);
            if name == "x-id" { value == operation } else { is_fixed || of_query(name) }
        }) && members.iter().filter(|(name, _)| is_required(name)).all(|(_, member)| {
            member["location"] != "querystring"
                || query.iter().any(|(name, _)| member["locationName"] == name.as_str())
        }) && !members
            .iter()
            // Only a copy has a header with its source.
            .any(|(name, _)| name == "CopySource")
    }

    fn input(&self, operation: &str) -> &Value {
        self.shape(&self.operations[operation]["input"]["shape"])
    }

    fn rest_input(
        &self,
        operation: &str,
        request: &Request,
        path: &str,
        query: &[(String, String)],
    ) -> Result<Call, String> {
        let shape = self.input(operation);
        let members = shape["members"].as_object().expect("members");
        let (bucket, key) = path.trim_start_matches('/').split_once('/').unwrap_or((&path[1..], ""));
        let mut input = Map::new();
        for (name, member) in members {
            let place = member["locationName"].as_str().unwrap_or(name);
            let value = match member["location"].as_str() {
                Some("uri") if name == "Bucket" => Some(decode(bucket)?),
                Some("uri") => Some(decode(key)?),
                Some("querystring") => {
                    query.iter().find(|(name, _)| name == place).map(|(_, value)| value.clone())
                }
                Some("header") => request.header(&place.to_ascii_lowercase()).map(str::to_owned),
                _ => None,
            };
            if let Some(value) = value {
                input.insert(name.clone(), self.typed(&member["shape"], value)?);
            }
        }
        // The checksum of a body is not a member of the input, but its algorithm is
        // (<https://smithy.io/2.0/aws/aws-core.html#aws-protocols-httpchecksum-trait>).
        let checksum = &self.operations[operation]["httpChecksum"];
        let algorithm = checksum["requestAlgorithmMember"].as_str().and_then(|member| input.get(member));
        let algorithm = algorithm.and_then(Value::as_str).map(str::to_ascii_lowercase);
        let checksum_header = algorithm.map(|algorithm| format!("x-amz-checksum-{algorithm}"));
        let of_header = |header: &str| {
            members.values().any(|member| {
                let name = member["locationName"].as_str().unwrap_or_default();
                member["location"] == "header" && name.eq_ignore_ascii_case(header)
            })
        };
        for (header, _) in &request.headers {
            let is_of_protocol = HEADERS_OF_THE_PROTOCOL.contains(&header.as_str());
            let has_effect = header.starts_with("x-amz-") || HEADERS_WITH_EFFECT.contains(&header.as_str());
            let is_checksum = checksum_header.as_deref() == Some(header);
            if has_effect && !is_of_protocol && !is_checksum && !of_header(header) {
                return Err(format!("{operation} has no header {header}"));
            }
        }
        let has_checksum = ["content-md5"].into_iter().chain(checksum_header.as_deref());
        let mut has_checksum = has_checksum.map(|header| request.header(header).is_some());
        if checksum["requestChecksumRequired"] == true && !has_checksum.any(|is_there| is_there) {
            return Err(format!("{operation} has no checksum of its body"));
        }
        self.body(operation, shape, request, &mut input)?;
        self.check(operation, &self.operations[operation]["input"]["shape"], &Value::Object(input.clone()))?;
        Ok(self.new_call(operation, input, request))
    }

    fn body(
        &self,
        operation: &str,
        shape: &Value,
        request: &Request,
        input: &mut Map<String, Value>,
    ) -> Result<(), String> {
        let Some(payload) = shape["payload"].as_str() else {
            let is_empty = request.body.is_empty();
            return if is_empty { Ok(()) } else { Err(format!("{operation} takes no body")) };
        };
        let member = &shape["members"][payload];
        if self.shape(&member["shape"])["type"] == "blob" || request.body.is_empty() {
            return Ok(());
        }
        let document = std::str::from_utf8(&request.body).map_err(|error| error.to_string())?;
        let root = xml::parse(document)?;
        if member["locationName"].as_str().is_some_and(|name| name != root.name) {
            return Err(format!("{operation}: body <{}>", root.name));
        }
        input.insert(payload.to_owned(), self.xml_input(&member["shape"], &root)?);
        Ok(())
    }

    fn xml_input(&self, name: &Value, element: &xml::Element) -> Result<Value, String> {
        let shape = self.shape(name);
        let Some(members) = shape["members"].as_object() else {
            return self.typed(name, element.text.clone());
        };
        let mut input = Map::new();
        for child in &element.children {
            let known = members
                .iter()
                .find(|(name, member)| member["locationName"].as_str().unwrap_or(name) == child.name);
            let (name, member) =
                known.ok_or_else(|| format!("<{}> has no <{}>", element.name, child.name))?;
            let of_list = &self.shape(&member["shape"])["member"]["shape"];
            if of_list.is_null() {
                input.insert(name.clone(), self.xml_input(&member["shape"], child)?);
            } else {
                let list = input.entry(name.clone()).or_insert_with(|| Value::Array(Vec::new()));
                list.as_array_mut().expect("a list").push(self.xml_input(of_list, child)?);
            }
        }
        Ok(Value::Object(input))
    }

    /// Converts the text of a header, query parameter or element to its type in the model.
    fn typed(&self, name: &Value, text: String) -> Result<Value, String> {
        match self.shape(name)["type"].as_str() {
            Some("integer" | "long") => {
                text.parse::<i64>().map(Value::from).map_err(|_| format!("{text:?} is no number ({name})"))
            }
            Some("boolean") => {
                text.parse::<bool>().map(Value::from).map_err(|_| format!("{text:?} is no boolean ({name})"))
            }
            _ => Ok(Value::from(text)),
        }
    }

    /// Checks a value and everything below it against a shape. `at` is the value's position for the error.
    fn check(&self, at: &str, name: &Value, value: &Value) -> Result<(), String> {
        let shape = self.shape(name);
        let fail = |why: &str| Err(format!("{at} = {value}: {why} ({name})"));
        let (min, max) = (shape["min"].as_i64(), shape["max"].as_i64());
        let is_within =
            |length: i64| min.is_none_or(|min| length >= min) && max.is_none_or(|max| length <= max);
        let has_length = |length: usize| i64::try_from(length).is_ok_and(is_within);
        match (shape["type"].as_str().unwrap_or_default(), value) {
            ("structure", Value::Object(given)) => {
                let members = shape["members"].as_object().expect("members");
                let required = shape["required"].as_array().map_or(&[][..], Vec::as_slice);
                let missing =
                    required.iter().find(|name| !given.contains_key(name.as_str().unwrap_or_default()));
                if let Some(missing) = missing {
                    return fail(&format!("{missing} is required"));
                }
                for (member, value) in given {
                    let Some(known) = members.get(member) else {
                        return fail(&format!("no member {member}"));
                    };
                    self.check(&format!("{at}.{member}"), &known["shape"], value)?;
                }
                Ok(())
            }
            ("list", Value::Array(elements)) if has_length(elements.len()) => {
                elements.iter().enumerate().try_for_each(|(index, value)| {
                    self.check(&format!("{at}[{index}]"), &shape["member"]["shape"], value)
                })
            }
            ("map", Value::Object(entries)) if has_length(entries.len()) => {
                entries.iter().try_for_each(|(key, value)| {
                    self.check(&format!("{at} key"), &shape["key"]["shape"], &Value::from(key.as_str()))?;
                    self.check(&format!("{at}.{key}"), &shape["value"]["shape"], value)
                })
            }
            ("string", Value::String(text)) => {
                let is_known = |all: &Vec<Value>| all.iter().any(|known| known == text.as_str());
                if shape["enum"].as_array().is_some_and(|all| !is_known(all)) {
                    return fail("not one of the enumeration");
                }
                if !has_length(text.chars().count()) {
                    return fail(&format!("length not within {min:?} to {max:?}"));
                }
                let is_match = |pattern| regex::Regex::new(pattern).unwrap().is_match(text);
                match shape["pattern"].as_str() {
                    Some(pattern) if !is_match(&format!("^(?:{pattern})$")) => fail(pattern),
                    _ => Ok(()),
                }
            }
            ("integer" | "long", Value::Number(number)) => match number.as_i64() {
                Some(number) if is_within(number) => Ok(()),
                _ => fail(&format!("not within {min:?} to {max:?}")),
            },
            ("boolean", Value::Bool(_)) | ("blob" | "timestamp", Value::String(_)) => Ok(()),
            (expected, _) => fail(&format!("not a {expected} within {min:?} to {max:?}")),
        }
    }
}

fn pair(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    (decoded(name), decoded(value))
}

fn has_key(path: &str) -> bool {
    path.trim_start_matches('/').split_once('/').is_some_and(|(_, key)| !key.is_empty())
}

fn decode(text: &str) -> Result<String, String> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(std::borrow::Cow::into_owned).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Request {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Request {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: headers.collect(),
            body: body.as_bytes().to_vec(),
        }
    }

    fn sqs(operation: &str, body: &str) -> Request {
        let target = format!("AmazonSQS.{operation}");
        let headers = [("x-amz-target", target.as_str()), ("content-type", "application/x-amz-json-1.0")];
        request("POST", "/", &headers, body)
    }

    #[test]
    #[ignore = "needs .venv; run `make test`"]
    fn each_request_is_exactly_one_operation_with_its_input() {
        let models = Models::load();
        let cases = [
            ("PUT", "/b/k?x-id=PutObject", "PutObject"),
            ("PUT", "/b/k?x-id=UploadPart&partNumber=1&uploadId=u", "UploadPart"),
            ("POST", "/b/k?uploads", "CreateMultipartUpload"),
            ("POST", "/b/k?uploadId=u", "CompleteMultipartUpload"),
            ("DELETE", "/b/k?x-id=AbortMultipartUpload&uploadId=u", "AbortMultipartUpload"),
            ("DELETE", "/b/k?x-id=DeleteObject", "DeleteObject"),
            ("GET", "/b/k?x-id=GetObject", "GetObject"),
            ("HEAD", "/b/k", "HeadObject"),
            ("HEAD", "/b", "HeadBucket"),
            ("HEAD", "/b/", "HeadBucket"),
            ("GET", "/b?list-type=2&prefix=a%2Fb&encoding-type=url", "ListObjectsV2"),
        ];
        for (method, target, operation) in cases {
            let call = models.call(&request(method, target, &[], "")).unwrap();
            assert_eq!((call.operation.as_str(), call.text("Bucket")), (operation, Some("b")));
        }
        let complete = "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Part>\
             <ETag>&quot;e&quot;</ETag><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>";
        let call = models.call(&request("POST", "/b/a%20b//c?uploadId=u", &[], complete)).unwrap();
        assert_eq!(call.text("Key"), Some("a b//c"));
        let expected = serde_json::json!([{ "ETag": "\"e\"", "PartNumber": 1 }]);
        assert_eq!(call.input["MultipartUpload"]["Parts"], expected);
        let call = models.call(&sqs("ReceiveMessage", r#"{"QueueUrl":"u","WaitTimeSeconds":20}"#)).unwrap();
        assert_eq!((call.service, call.number("WaitTimeSeconds")), ("sqs", Some(20)));
    }

    #[test]
    #[ignore = "needs .venv; run `make test`"]
    fn a_request_that_the_model_does_not_allow_is_refused_with_the_reason() {
        let models = Models::load();
        let xml = |part: &str| {
            let body = format!("<CompleteMultipartUpload><Part>{part}</Part></CompleteMultipartUpload>");
            request("POST", "/b/k?uploadId=u", &[], &body)
        };
        let cases = [
            // No operation, or several operations.
            (request("PATCH", "/b/k", &[], ""), "not exactly one operation"),
            (request("PUT", "/b/k?partNumber=1", &[], ""), "not exactly one operation"),
            (request("GET", "/b/k?x-id=PutObject", &[], ""), "not exactly one operation"),
            (sqs("SendMessages", "{}"), "no operation SendMessages"),
            // Members.
            (sqs("SendMessageBatch", r#"{"QueueUrl":"u"}"#), "\"Entries\" is required"),
            (sqs("DeleteMessage", r#"{"QueueUrl":"u","ReceiptHandle":"h","X":1}"#), "no member X"),
            (sqs("ReceiveMessage", r#"{"QueueUrl":"u","WaitTimeSeconds":"20"}"#), "not a integer"),
            (
                sqs("GetQueueAttributes", r#"{"QueueUrl":"u","AttributeNames":["Depth"]}"#),
                "not one of the enumeration",
            ),
            (request("GET", "/b?list-type=2&encoding-type=utf-8", &[], ""), "not one of the enumeration"),
            (
                request("PUT", "/b/k", &[("x-amz-sdk-checksum-algorithm", "crc")], ""),
                "not one of the enumeration",
            ),
            (request("GET", "/b?list-type=2&max-keys=many", &[], ""), "is no number"),
            (
                request("DELETE", "/b/k", &[("x-amz-checksum-crc32", "c")], ""),
                "no header x-amz-checksum-crc32",
            ),
            (request("HEAD", "/b", &[("if-none-match", "*")], ""), "no header if-none-match"),
            (request("GET", "/b/k", &[], "body"), "takes no body"),
            (xml("<Number>1</Number>"), "<Part> has no <Number>"),
            (xml("<PartNumber>one</PartNumber>"), "is no number"),
        ];
        for (request, reason) in cases {
            let error = models.call(&request).unwrap_err();
            assert!(error.contains(reason), "{error}: expected {reason}");
        }
    }

    #[test]
    fn a_value_outside_its_shapes_bounds_or_pattern_is_refused() {
        let shapes = serde_json::json!({
            "Name": { "type": "string", "min": 2, "max": 3, "pattern": "[a-z]+" },
            "Names": { "type": "list", "member": { "shape": "Name" }, "min": 1, "max": 2 },
            "Count": { "type": "integer", "min": 1, "max": 10 },
            "Input": { "type": "structure", "members": {
                "Names": { "shape": "Names" }, "Count": { "shape": "Count" },
            } },
        });
        let model =
            Model { service: "s3", operations: Map::new(), shapes: shapes.as_object().unwrap().clone() };
        let check = |input: Value| model.check("input", &"Input".into(), &input);
        check(serde_json::json!({ "Names": ["ab", "abc"], "Count": 10 })).unwrap();
        for bad in [
            serde_json::json!({ "Names": [] }),
            serde_json::json!({ "Names": ["ab", "ab", "ab"] }),
            serde_json::json!({ "Names": ["a"] }),
            serde_json::json!({ "Names": ["abcd"] }),
            serde_json::json!({ "Names": ["ab1"] }),
            serde_json::json!({ "Names": "ab" }),
            serde_json::json!({ "Count": 0 }),
            serde_json::json!({ "Count": 11 }),
        ] {
            assert!(check(bad.clone()).is_err(), "{bad}");
        }
    }
}
