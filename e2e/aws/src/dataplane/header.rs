//! What happens to header fields on the way to a target.
//! Source: "HTTP headers and Application Load Balancers", Application Load Balancers user guide.

use std::net::SocketAddr;

use http::header::{CONNECTION, HOST, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, Method};

use super::rule::host_name;
use super::snapshot::{Attributes, ForwardedFor};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// What a request's connection says about it.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The client.
    pub client: SocketAddr,
    /// `http` or `https`
    pub protocol: &'static str,
    /// The listener's port.
    pub port: u16,
}

/// Removes what concerns one connection only (RFC 9110, section 7.6.1), but leaves `Upgrade` where a WebSocket is asked for.
pub fn strip_hop_by_hop(headers: &mut HeaderMap, upgrade: bool) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name| !(upgrade && *name == UPGRADE))
        .collect();
    let trailers = headers.get(TE).is_some_and(|value| value == "trailers");
    for name in named
        .into_iter()
        .chain([CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TE, TRAILER, TRANSFER_ENCODING])
    {
        headers.remove(name);
    }
    // gRPC servers want to hear this from everyone on the way.
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    } else {
        headers.remove(UPGRADE);
    }
}

/// Whether a request asks to become a WebSocket.
pub fn wants_upgrade(method: &Method, headers: &HeaderMap) -> bool {
    let has = |name: HeaderName, word: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.to_ascii_lowercase().contains(word))
    };
    method == Method::GET && has(CONNECTION, "upgrade") && has(UPGRADE, "websocket")
}

/// The `Host` that a target sees. Unless told to preserve it, ALB adds the listener's port where it is not the
/// protocol's own and takes it away where it is. Source: "Host header preservation", same guide.
fn host_for_target(host: &str, origin: Origin, attributes: &Attributes) -> String {
    if attributes.preserve_host_header {
        return host.to_owned();
    }
    let name = host_name(host);
    match (origin.protocol, origin.port) {
        ("http", 80) | ("https", 443) if host == format!("{name}:{}", origin.port) => name.to_owned(),
        ("http", 80) | ("https", 443) => host.to_owned(),
        _ if host == name => format!("{host}:{}", origin.port),
        _ => host.to_owned(),
    }
}

/// Adds what ALB tells a target about the client, and its trace id.
pub fn forward(headers: &mut HeaderMap, host: &str, origin: Origin, attributes: &Attributes, trace: &str) {
    let mut set = |name: HeaderName, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    };
    set(HOST, host_for_target(host, origin, attributes));
    set(FORWARDED_PROTO, origin.protocol.to_owned());
    set(FORWARDED_PORT, origin.port.to_string());
    match attributes.forwarded_for {
        ForwardedFor::Preserve => {}
        ForwardedFor::Remove => {
            headers.remove(FORWARDED_FOR);
        }
        ForwardedFor::Append => {
            let client = match attributes.forwarded_client_port {
                true => origin.client.to_string(),
                false => origin.client.ip().to_string(),
            };
            let earlier = headers
                .get_all(FORWARDED_FOR)
                .iter()
                .filter_map(|value| value.to_str().ok());
            let value = earlier.chain([client.as_str()]).collect::<Vec<_>>().join(", ");
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(FORWARDED_FOR, value);
            }
        }
    }
    let trace = trace_id(headers.get(TRACE_ID).and_then(|value| value.to_str().ok()), trace);
    if let Ok(value) = HeaderValue::try_from(trace) {
        headers.insert(TRACE_ID, value);
    }
}

/// A request without a trace gets a root; one that has a root gets a `Self` beside it; fields of others are kept.
/// Source: "Request tracing for your Application Load Balancer".
fn trace_id(earlier: Option<&str>, id: &str) -> String {
    let fields = earlier
        .unwrap_or_default()
        .split(';')
        .filter(|field| !field.is_empty() && !field.starts_with("Self="));
    let fields: Vec<&str> = fields.collect();
    match (fields.iter().any(|field| field.starts_with("Root=")), fields.is_empty()) {
        (true, _) => format!("Self={id};{}", fields.join(";")),
        (false, true) => format!("Root={id}"),
        (false, false) => format!("Root={id};{}", fields.join(";")),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Method};

    use super::super::snapshot::{Attributes, ForwardedFor};
    use super::{Origin, forward, host_for_target, strip_hop_by_hop, trace_id, wants_upgrade};

    fn origin(protocol: &'static str, port: u16) -> Origin {
        Origin {
            client: "10.0.0.7:4711".parse().unwrap(),
            protocol,
            port,
        }
    }

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|&(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn the_client_is_added_to_those_who_forwarded_before() {
        for (mode, port, earlier, expected) in [
            (ForwardedFor::Append, false, Some("1.2.3.4"), Some("1.2.3.4, 10.0.0.7")),
            (ForwardedFor::Append, false, None, Some("10.0.0.7")),
            (ForwardedFor::Append, true, None, Some("10.0.0.7:4711")),
            (ForwardedFor::Preserve, false, Some("1.2.3.4"), Some("1.2.3.4")),
            (ForwardedFor::Preserve, false, None, None),
            (ForwardedFor::Remove, false, Some("1.2.3.4"), None),
        ] {
            let mut map = earlier.map_or_else(HeaderMap::new, |value| headers(&[("x-forwarded-for", value)]));
            let attributes = Attributes {
                forwarded_for: mode,
                forwarded_client_port: port,
                ..Attributes::default()
            };
            forward(&mut map, "a.com", origin("https", 443), &attributes, "1-0-0");
            assert_eq!(
                map.get("x-forwarded-for").map(|value| value.to_str().unwrap()),
                expected,
                "{mode:?}"
            );
            assert_eq!(map["x-forwarded-proto"], "https");
            assert_eq!(map["x-forwarded-port"], "443");
            assert_eq!(map["x-amzn-trace-id"], "Root=1-0-0");
            assert_eq!(map["host"], "a.com");
        }
    }

    #[test]
    fn the_host_keeps_its_name_and_gets_the_port_of_an_unusual_listener() {
        let plain = Attributes::default();
        let preserve = Attributes {
            preserve_host_header: true,
            ..Attributes::default()
        };
        for (host, origin, attributes, expected) in [
            ("a.com", origin("http", 80), &plain, "a.com"),
            ("a.com:80", origin("http", 80), &plain, "a.com"),
            ("a.com:81", origin("http", 80), &plain, "a.com:81"),
            ("a.com", origin("https", 8443), &plain, "a.com:8443"),
            ("a.com:8443", origin("https", 8443), &plain, "a.com:8443"),
            ("a.com", origin("https", 8443), &preserve, "a.com"),
        ] {
            assert_eq!(host_for_target(host, origin, attributes), expected);
        }
    }

    #[test]
    fn a_trace_has_one_root() {
        for (earlier, expected) in [
            (None, "Root=1-new"),
            (Some("Root=1-old"), "Self=1-new;Root=1-old"),
            (
                Some("Self=1-x;Root=1-old;CalledFrom=app"),
                "Self=1-new;Root=1-old;CalledFrom=app",
            ),
            (Some("TotalTimeSoFar=112ms"), "Root=1-new;TotalTimeSoFar=112ms"),
        ] {
            assert_eq!(trace_id(earlier, "1-new"), expected);
        }
    }

    #[test]
    fn fields_of_one_connection_stay_on_it() {
        let asked = [
            ("connection", "Upgrade, x-mine"),
            ("upgrade", "websocket"),
            ("x-mine", "1"),
            ("x-kept", "1"),
        ];
        let mut map = headers(&asked);
        assert!(wants_upgrade(&Method::GET, &map));
        assert!(!wants_upgrade(&Method::POST, &map));
        strip_hop_by_hop(&mut map, true);
        assert_eq!(
            (map["connection"].as_bytes(), map["upgrade"].as_bytes()),
            (&b"upgrade"[..], &b"websocket"[..])
        );
        assert!(!map.contains_key("x-mine") && map.contains_key("x-kept"));
        strip_hop_by_hop(&mut map, false);
        assert!(!map.contains_key("connection") && !map.contains_key("upgrade"));
    }
}
