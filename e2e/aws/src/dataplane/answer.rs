//! Answers that the load balancer gives itself: errors, fixed responses, redirects.

use super::rule::{Facts, host_name};
use super::snapshot::Redirect;

/// A response that no target made.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The content type of a body.
    pub content_type: Option<String>,
    /// The body.
    pub body: String,
    /// Where a redirect leads.
    pub location: Option<String>,
}

/// Why a request got no answer from a target.
/// Source: "Troubleshoot your Application Load Balancers", section on HTTP errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No target is registered (or all target groups have weight 0): 503.
    NoTargets,
    /// The target refused or closed the connection, or did not speak HTTP: 502.
    BadGateway,
    /// The connection could not be made in time, or no answer came within the idle timeout: 504.
    Timeout,
    /// The request has no legal host or target: 400.
    BadRequest,
    /// The rule asks for something that this double does not do: 501.
    NotImplemented,
}

impl Failure {
    fn status(self) -> (u16, &'static str) {
        match self {
            Failure::BadRequest => (400, "Bad Request"),
            Failure::NotImplemented => (501, "Not Implemented"),
            Failure::BadGateway => (502, "Bad Gateway"),
            Failure::NoTargets => (503, "Service Temporarily Unavailable"),
            Failure::Timeout => (504, "Gateway Time-out"),
        }
    }
}

fn page(status: u16, reason: &str, location: Option<String>) -> Answer {
    let body = format!(
        "<html>\r\n<head><title>{status} {reason}</title></head>\r\n<body>\r\n<center><h1>{status} {reason}</h1></center>\r\n</body>\r\n</html>\r\n"
    );
    Answer {
        status,
        content_type: Some("text/html".into()),
        body,
        location,
    }
}

impl From<Failure> for Answer {
    fn from(failure: Failure) -> Answer {
        let (status, reason) = failure.status();
        page(status, reason, None)
    }
}

impl Redirect {
    /// The answer to a request that came in over `protocol` (`http`, `https`) on `port`. The port always stands in the
    /// location, also where it is the protocol's own.
    pub fn answer(&self, facts: Facts<'_>, protocol: &str, port: u16) -> Answer {
        let fill = |template: &str| {
            template
                .replace("#{protocol}", protocol)
                .replace("#{host}", host_name(facts.host))
                .replace("#{port}", &port.to_string())
                .replace("#{path}", facts.path.strip_prefix('/').unwrap_or(facts.path))
                .replace("#{query}", facts.query)
        };
        let mut location = format!(
            "{}://{}:{}{}",
            fill(&self.protocol).to_ascii_lowercase(),
            fill(&self.host),
            fill(&self.port),
            fill(&self.path)
        );
        let query = fill(&self.query);
        if !query.is_empty() {
            location.push('?');
            location.push_str(&query);
        }
        page(
            self.status,
            if self.status == 301 {
                "Moved Permanently"
            } else {
                "Found"
            },
            Some(location),
        )
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::super::rule::Facts;
    use super::super::snapshot::Redirect;

    fn location(redirect: Redirect, target: &str) -> String {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let headers = HeaderMap::new();
        let source = "10.0.0.1".parse().unwrap();
        let facts = Facts {
            host: "a.com:8080",
            path,
            query,
            method: "GET",
            headers: &headers,
            source,
        };
        redirect.answer(facts, "http", 8080).location.unwrap()
    }

    #[test]
    fn a_redirect_fills_its_placeholders_from_the_request() {
        let https = Redirect {
            protocol: "HTTPS".into(),
            port: "443".into(),
            ..Redirect::default()
        };
        assert_eq!(location(https, "/x/y?q=1&r"), "https://a.com:443/x/y?q=1&r");
        let moved = Redirect {
            host: "new.#{host}".into(),
            path: "/from/#{path}".into(),
            query: "port=#{port}&#{query}".into(),
            ..Redirect::default()
        };
        assert_eq!(location(moved, "/x"), "http://new.a.com:8080/from/x?port=8080&");
        assert_eq!(
            location(
                Redirect {
                    query: String::new(),
                    path: "/".into(),
                    ..Redirect::default()
                },
                "/x?y"
            ),
            "http://a.com:8080/"
        );
    }
}
