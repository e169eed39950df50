//! What the text of a flag means, and what to write when it means nothing.

use crate::model::{Tags, tags};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv6Addr, SocketAddr},
    ops::RangeInclusive,
};

/// Services whose endpoint can be chosen, as the SDKs name them.
const SERVICES: [&str; 3] = ["Elastic Load Balancing v2", "EC2", "ACM"];
/// Services that ALBC calls and albacore does not.
const IDLE_SERVICES: [&str; 9] = [
    "ACM PCA",
    "Cognito Identity Provider",
    "Global Accelerator",
    "IAM",
    "Resource Groups Tagging API",
    "Route 53",
    "Shield",
    "WAF Regional",
    "WAFV2",
];

/// Prefixes of the keys by which ALBC and albacore find what is theirs: `/stack` and `/resource` follow.
const TRACKING: [&str; 5] = [
    "aga.k8s.aws",
    "gateway.k8s.aws.alb",
    "gateway.k8s.aws.nlb",
    "ingress.k8s.aws",
    "service.k8s.aws",
];

/// Yes or no, as Go's flags spell it.
pub(super) fn switch(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// What is wrong, collected.
#[derive(Debug, Default)]
pub(super) struct Check(pub Vec<String>);

impl Check {
    pub fn wrong(&mut self, what: String) {
        self.0.push(what);
    }

    pub fn switch(&mut self, flag: &str, text: &str) -> bool {
        switch(text).unwrap_or_else(|| {
            self.wrong(format!("--{flag}={text}: write true or false"));
            false
        })
    }

    /// A number in that range; its beginning when it is none, which is noted.
    pub fn number(&mut self, flag: &str, text: &str, range: RangeInclusive<u32>) -> u32 {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.unwrap_or_else(|| {
            let (least, most) = (range.start(), range.end());
            self.wrong(format!("--{flag}={text}: write a number from {least} to {most}"));
            *least
        })
    }

    /// One of the choices; the first when it is none of them, which is noted.
    pub fn one_of<T: Copy, const N: usize>(&mut self, flag: &str, text: &str, choices: [(&str, T); N]) -> T {
        match choices.iter().find(|(name, _)| *name == text) {
            Some((_, choice)) => *choice,
            None => {
                let names = choices.map(|(name, _)| name).join(" or ");
                self.wrong(format!("--{flag}={text}: write {names}"));
                choices[0].1
            }
        }
    }

    /// An address to listen on; `:8080` means every address of the machine, as in Go.
    pub fn address(&mut self, flag: &str, text: &str) -> SocketAddr {
        let every = text.strip_prefix(':').map(|port| format!("[::]:{port}"));
        every.as_deref().unwrap_or(text).parse().unwrap_or_else(|_| {
            self.wrong(format!(
                "--{flag}={text} is not an address: write :8080 or 127.0.0.1:8080"
            ));
            (Ipv6Addr::UNSPECIFIED, 0).into()
        })
    }

    /// Endpoints by service id; those of services that are not called are taken and named.
    pub fn endpoints(&mut self, pairs: &[String], ignored: &mut Vec<String>) -> BTreeMap<String, String> {
        let mut endpoints = BTreeMap::new();
        for pair in given(pairs) {
            let flag = format!("--aws-api-endpoints={pair}");
            let Some((service, url)) = pair.split_once('=') else {
                self.wrong(format!(
                    "{flag}: write service=URL, for example EC2=https://ec2.example.com"
                ));
                continue;
            };
            let is_url = url.parse::<http::Uri>().is_ok_and(|uri| {
                matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
            });
            if !is_url {
                self.wrong(format!(
                    "{flag}: `{url}` is not a URL; write https://HOST or http://HOST:PORT"
                ));
            } else if service == "STS" {
                // Only the SDK's own credential providers call it, and they read this.
                ignored.push(format!("{flag} (only AWS_ENDPOINT_URL_STS is heeded for STS)"));
            } else if SERVICES.contains(&service) {
                endpoints.insert(service.to_owned(), url.to_owned());
            } else if IDLE_SERVICES.contains(&service) {
                ignored.push(flag);
            } else {
                self.wrong(format!(
                    "{flag}: `{service}` is not a service; write one of {}",
                    SERVICES.join(", ")
                ));
            }
        }
        endpoints
    }

    /// `--default-tags`.
    pub fn default_tags(&mut self, pairs: &[String]) -> Tags {
        let mut all = Tags::new();
        for pair in given(pairs) {
            let flag = format!("--default-tags={pair}");
            let (key, value) = match pair.split_once('=') {
                Some((key, value)) if !key.trim().is_empty() => (key.trim(), value.trim()),
                _ => {
                    self.wrong(format!("{flag}: write key=value"));
                    continue;
                }
            };
            self.tag_key(&flag, key);
            // "Tag naming limits and requirements", AWS General Reference.
            if key.chars().count() > 128 || value.chars().count() > 256 {
                self.wrong(format!(
                    "{flag}: a key has at most 128 characters, a value 256; shorten it"
                ));
            }
            if all
                .insert(key.to_owned(), value.to_owned())
                .is_some_and(|before| before != value)
            {
                self.wrong(format!("{flag}: {key} has another value already; write it once"));
            }
        }
        all
    }

    /// `--external-managed-tags`, none of them also in `default`.
    pub fn external_tags(&mut self, keys: &[String], default: &Tags) -> BTreeSet<String> {
        let keys: BTreeSet<String> = given(keys).map(str::to_owned).collect();
        for key in &keys {
            self.tag_key(&format!("--external-managed-tags={key}"), key);
            if default.contains_key(key) {
                self.wrong(format!(
                    "{key} is in --default-tags and in --external-managed-tags: leave it out of one of them"
                ));
            }
        }
        keys
    }

    fn tag_key(&mut self, flag: &str, key: &str) {
        if is_tracking(key) {
            self.wrong(format!(
                "{flag}: albacore finds what it made by the tag {key}; leave it out"
            ));
        } else if key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:")) {
            self.wrong(format!(
                "{flag}: keys that begin with aws: are AWS' own; choose another"
            ));
        }
    }
}

/// What stands between commas, without what stands between two of them for nothing.
fn given(list: &[String]) -> impl Iterator<Item = &str> {
    list.iter().map(|text| text.trim()).filter(|text| !text.is_empty())
}

fn is_tracking(key: &str) -> bool {
    let of_stack = |prefix: &str| matches!(key.strip_prefix(prefix), Some("/stack" | "/resource"));
    [tags::CLUSTER, tags::SHARED_RESOURCE, "elbv2.k8s.aws/cluster-region"].contains(&key)
        || TRACKING.into_iter().any(of_stack)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn a_port_alone_means_every_address() {
        let mut check = Check::default();
        for (text, address) in [
            (":8080", "[::]:8080"),
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("[::1]:2", "[::1]:2"),
        ] {
            assert_eq!(check.address("metrics-bind-addr", text).to_string(), address);
        }
        assert_eq!(check.0, [""; 0]);
        for text in ["here", "8080", "127.0.0.1", ":", ":70000"] {
            check.address("metrics-bind-addr", text);
            let wrong = check.0.pop().expect(text);
            assert!(
                wrong.starts_with(&format!("--metrics-bind-addr={text} is not an address: write")),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_switch_is_spelled_as_in_go() {
        for (text, means) in [
            ("true", Some(true)),
            ("1", Some(true)),
            ("F", Some(false)),
            ("", None),
            ("yes", None),
        ] {
            assert_eq!(switch(text), means, "{text}");
        }
    }

    #[test]
    fn keys_that_find_what_is_ours_are_never_a_users_tag() {
        for key in [
            tags::CLUSTER,
            tags::STACK,
            tags::RESOURCE,
            tags::SHARED_RESOURCE,
            "service.k8s.aws/stack",
            "gateway.k8s.aws.alb/resource",
            "aga.k8s.aws/stack",
        ] {
            assert!(is_tracking(key), "{key}");
            let mut check = Check::default();
            check.default_tags(&texts(&[&format!("{key}=x")]));
            check.external_tags(&texts(&[key]), &Tags::new());
            assert_eq!(check.0.len(), 2, "{:?}", check.0);
        }
        for key in ["team", "ingress.k8s.aws/group", "stack", "kubernetes.io/cluster/demo"] {
            assert!(!is_tracking(key), "{key}");
        }
    }

    #[test]
    fn tags_that_aws_would_refuse_are_refused_here() {
        let long = "x".repeat(129);
        for (pair, says) in [
            ("nonsense", "write key=value"),
            ("=x", "write key=value"),
            ("aws:team=x", "AWS' own"),
            (format!("{long}=x").as_str(), "128"),
        ] {
            let mut check = Check::default();
            check.default_tags(&texts(&[pair]));
            assert!(
                check.0.iter().any(|wrong| wrong.contains(says)),
                "{pair}: {:?}",
                check.0
            );
        }
        let mut check = Check::default();
        check.default_tags(&texts(&["a=1", "a=2", "b=1", "b=1", " c = d e ", ""]));
        assert_eq!(
            check.0,
            ["--default-tags=a=2: a has another value already; write it once"]
        );
    }

    #[test]
    fn an_endpoint_is_a_service_and_a_url() {
        let mut check = Check::default();
        let mut ignored = Vec::new();
        let pairs = [
            "EC2=http://127.0.0.1:1",
            "Elastic Load Balancing v2=https://elb.example.com/path",
            "WAFV2=https://waf.example.com",
            "STS=https://sts.example.com",
        ];
        let endpoints = check.endpoints(&texts(&pairs), &mut ignored);
        assert_eq!(check.0, [""; 0]);
        assert_eq!(endpoints["EC2"], "http://127.0.0.1:1");
        assert_eq!(endpoints.len(), 2);
        assert!(ignored[1].contains("AWS_ENDPOINT_URL_STS"), "{ignored:?}");
        for (pair, says) in [
            ("EC2", "write service=URL"),
            ("EC2=", "`` is not a URL"),
            ("EC2=ec2.example.com", "is not a URL"),
            ("EC2=ftp://x", "is not a URL"),
            ("ELB=http://x", "`ELB` is not a service"),
        ] {
            check.endpoints(&texts(&[pair]), &mut ignored);
            let wrong = check.0.pop().expect(pair);
            assert!(
                wrong.starts_with(&format!("--aws-api-endpoints={pair}: ")) && wrong.contains(says),
                "{wrong}"
            );
        }
    }
}
