//! The table of annotations, and how their values are read.
//!
//! Reading follows ALBC to the letter (what its Go parsers accept and how they split), so that a value means the same
//! with either controller; what is said about a value that cannot be read is our own.

use crate::model::{Code, Object, ObjectKey, Problem, Severity, shown};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

/// Prefix of ALBC's annotations.
pub const PREFIX: &str = "alb.ingress.kubernetes.io/";
/// Changed: the group is read from AWS and repaired.
pub const VERIFY: &str = "albacore.dev/verify";
/// `delete-first`: consent to delete a load balancer before its replacement exists.
pub const REPLACE: &str = "albacore.dev/replace";

/// An annotation that is acted upon.
#[derive(Clone, Copy, Debug)]
pub struct Annotation {
    /// Key without [`PREFIX`].
    pub key: &'static str,
    /// Whether it counts on a Service, too (and then beats the one on the Ingress).
    pub on_service: bool,
    /// What it is for.
    pub doc: &'static str,
}

macro_rules! annotations {
    ($($key:literal $on_service:literal $doc:literal;)*) => {
        /// Every annotation that is acted upon; any other below [`PREFIX`] is refused.
        pub const TABLE: &[Annotation] = &[$(Annotation { key: $key, on_service: $on_service, doc: $doc },)*];
    };
}

annotations! {
    "backend-protocol" true "`HTTP` or `HTTPS`: how targets are spoken to";
    "backend-protocol-version" true "`HTTP1`, `HTTP2` or `GRPC`";
    "certificate-arn" false "certificates, comma separated; the first of the group's first member is the default one";
    "group.name" false "Ingresses with the same name share a load balancer";
    "group.order" false "place among the members of a group, -1000 to 1000; rules of the lower come first";
    "healthcheck-interval-seconds" true "seconds between two health checks";
    "healthcheck-path" true "path of the health check";
    "healthcheck-port" true "`traffic-port`, a number or the name of a port of the Service";
    "healthcheck-protocol" true "`HTTP` or `HTTPS`; the backend protocol unless given";
    "healthcheck-timeout-seconds" true "seconds until a health check has failed";
    "healthy-threshold-count" true "passed checks until a target is healthy again";
    "inbound-cidrs" false "who may connect, comma separated ranges";
    "ip-address-type" false "`ipv4`, `dualstack` or `dualstack-without-public-ipv4`";
    "listen-ports" false "JSON, for example `[{\"HTTP\": 80}, {\"HTTPS\": 443}]`";
    "load-balancer-attributes" false "`key=value`, comma separated";
    "load-balancer-name" false "at most 32 characters; counts when the load balancer is made";
    "manage-backend-security-group-rules" false "with `security-groups`: whether nodes are opened for the load balancer";
    "scheme" false "`internal` or `internet-facing`";
    "security-groups" false "ids or Name tags, comma separated; replaces the managed group";
    "ssl-policy" false "security policy of HTTPS listeners";
    "ssl-redirect" false "port of the HTTPS listener that HTTP is redirected to";
    "subnets" false "ids or Name tags, comma separated";
    "success-codes" true "status codes of a passed health check";
    "tags" true "`key=value`, comma separated";
    "target-group-attributes" true "`key=value`, comma separated";
    "target-type" true "`instance` or `ip`";
    "unhealthy-threshold-count" true "failed checks until a target is unhealthy";
}

/// The annotations of one object, and the problems met while reading them.
#[derive(Debug)]
pub struct Reader<'a> {
    member: &'a ObjectKey,
    /// First the one that wins.
    sources: Vec<(Object, &'a BTreeMap<String, String>)>,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    /// A reader of the member's own annotations.
    pub fn new(member: &'a ObjectKey, annotations: &'a BTreeMap<String, String>) -> Self {
        Self {
            member,
            sources: vec![(Object::Ingress(member.clone()), annotations)],
            problems: Vec::new(),
        }
    }

    /// A reader that looks at a Service's annotations first.
    pub fn with_service(
        member: &'a ObjectKey,
        annotations: &'a BTreeMap<String, String>,
        service: (&ObjectKey, &'a BTreeMap<String, String>),
    ) -> Self {
        let sources = vec![
            (Object::Service(service.0.clone()), service.1),
            (Object::Ingress(member.clone()), annotations),
        ];
        Self {
            member,
            sources,
            problems: Vec::new(),
        }
    }

    /// What was wrong so far.
    pub fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// The value of an annotation, verbatim; an empty one counts.
    pub fn string(&self, key: &str) -> Option<&'a str> {
        let full = format!("{PREFIX}{key}");
        self.sources
            .iter()
            .find_map(|(_, annotations)| annotations.get(&full))
            .map(String::as_str)
    }

    /// Split at commas, trimmed, without empty parts.
    pub fn list(&self, key: &str) -> Option<Vec<String>> {
        let parts = self
            .string(key)?
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty());
        Some(parts.map(str::to_owned).collect())
    }

    /// `true` and `false` as Go reads them.
    pub fn boolean(&mut self, key: &str) -> Option<bool> {
        let value = self.string(key)?;
        match value {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
            _ => {
                self.refuse(
                    key,
                    format!("{} is neither true nor false. Write `true` or `false`.", shown(value)),
                );
                None
            }
        }
    }

    /// A whole number of a range.
    pub fn number(&mut self, key: &str, range: RangeInclusive<i32>) -> Option<i32> {
        let value = self.string(key)?;
        let number = value.parse().ok().filter(|number| range.contains(number));
        if number.is_none() {
            let (value, from, to) = (shown(value), range.start(), range.end());
            self.refuse(
                key,
                format!("{value} cannot be used. Write a whole number from {from} to {to}."),
            );
        }
        number
    }

    /// `key=value` pairs. A comma separates only where an `=` follows; a backslash takes the next character as it is.
    pub fn map(&mut self, key: &str) -> Option<BTreeMap<String, String>> {
        let value = self.string(key)?;
        let map = split_map(value);
        if map.is_none() {
            self.refuse(
                key,
                format!(
                    "{} is not a list of pairs. Write for example `first=1,second=2`.",
                    shown(value)
                ),
            );
        }
        map
    }

    /// `tags`, of which none may have a key that somebody else manages.
    pub fn tags(&mut self, managed_elsewhere: &BTreeSet<String>) -> BTreeMap<String, String> {
        let tags = self.map("tags").unwrap_or_default();
        for (key, value) in &tags {
            if let Some(detail) = reserved_tag(key, value) {
                self.refuse("tags", detail);
            } else if managed_elsewhere.contains(key) {
                let pair = shown(&format!("{key}={value}"));
                let detail =
                    format!("{pair}: the tag is managed from outside (--external-managed-tags). Remove it here.");
                self.refuse("tags", detail);
            }
        }
        tags
    }

    /// One of a few words.
    pub fn word<T: Copy>(&mut self, key: &str, words: &[(&str, T)]) -> Option<T> {
        let value = self.string(key)?;
        let found = words.iter().find(|(word, _)| *word == value);
        if found.is_none() {
            let allowed: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
            let allowed = match allowed.split_last() {
                Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
                _ => allowed.concat(),
            };
            self.refuse(key, format!("{} is not understood. Write {}.", shown(value), allowed));
        }
        found.map(|(_, meaning)| *meaning)
    }

    /// Notes that the value of an annotation cannot be used.
    pub fn refuse(&mut self, key: &str, detail: String) {
        self.note(key, Code::InvalidValue, detail);
    }

    /// Notes a blocking problem with an annotation, at the object that carries it.
    pub fn note(&mut self, key: &str, code: Code, detail: String) {
        let full = format!("{PREFIX}{key}");
        let carrier = self
            .sources
            .iter()
            .find(|(_, annotations)| annotations.contains_key(&full));
        let object = carrier.unwrap_or(&self.sources[self.sources.len() - 1]).0.clone();
        self.problem(object, full, code, detail);
    }

    /// Notes a blocking problem anywhere.
    pub fn problem(&mut self, object: Object, field: String, code: Code, detail: String) {
        self.say(object, field, Severity::Blocking, code, detail);
    }

    fn say(&mut self, object: Object, field: String, severity: Severity, code: Code, detail: String) {
        self.problems.push(Problem {
            member: Some(self.member.clone()),
            object,
            field,
            severity,
            code,
            detail,
        });
    }

    /// Refuses every annotation below [`PREFIX`] that is not acted upon, of the object whose annotations win. What counts
    /// on an Ingress only has no effect on a Service, with ALBC neither.
    pub fn refuse_unknown(&mut self) {
        let (object, annotations) = self.sources[0].clone();
        let on_service = matches!(object, Object::Service(_));
        for (full, value) in annotations {
            let Some(key) = full.strip_prefix(PREFIX) else { continue };
            let known = TABLE.iter().find(|known| known.key == key);
            let value = shown(value);
            let (severity, detail) = match (known, nearest(key, on_service)) {
                (Some(known), _) if known.on_service || !on_service => continue,
                (Some(_), _) => (
                    Severity::Warning,
                    format!(
                        "{value} has no effect here: the annotation counts on an Ingress only. Move it there, or remove it."
                    ),
                ),
                (None, Some(meant)) => (
                    Severity::Blocking,
                    format!(
                        "{value}: there is no such annotation. Did you mean `{PREFIX}{meant}`? Otherwise remove it."
                    ),
                ),
                (None, None) => {
                    let who = if on_service {
                        "the Ingresses that use this Service change"
                    } else {
                        "this Ingress changes"
                    };
                    let detail = format!("{value}: not supported yet. Remove it; until then {who} nothing in AWS.");
                    (Severity::Blocking, detail)
                }
            };
            self.say(object.clone(), full.clone(), severity, Code::NotSupported, detail);
        }
    }
}

/// Why a tag cannot be set ("Tag naming limits and requirements", Tagging AWS resources user guide).
pub fn reserved_tag(key: &str, value: &str) -> Option<String> {
    let pair = shown(&format!("{key}={value}"));
    key.starts_with("aws:")
        .then(|| format!("{pair}: AWS keeps keys that begin with `aws:` to itself. Write another key."))
}

/// `key=value` pairs; `None` when a piece has no key or no `=`.
pub fn split_map(text: &str) -> Option<BTreeMap<String, String>> {
    let mut pieces = Vec::new();
    let mut piece = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => piece.extend(rest.next()),
            ',' if rest.as_str().contains('=') => pieces.push(std::mem::take(&mut piece)),
            c => piece.push(c),
        }
    }
    pieces.push(piece);
    let pairs = pieces
        .iter()
        .filter(|piece| !piece.is_empty() || pieces.len() > 1)
        .map(|piece| {
            let (key, value) = piece.split_once('=')?;
            let key = key.trim();
            (!key.is_empty()).then(|| (key.to_owned(), value.trim().to_owned()))
        });
    pairs.collect()
}

/// The known key that a mistyped one is nearest to; `None` when none is near.
fn nearest(key: &str, on_service: bool) -> Option<&'static str> {
    let candidates = TABLE.iter().filter(|known| known.on_service || !on_service);
    let near = candidates.map(|known| (distance(key, known.key), known.key)).min()?;
    (near.0 <= 2 && near.0 * 3 <= key.len()).then_some(near.1)
}

/// Edits (insert, delete, replace) from one word to another.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Option<BTreeMap<String, String>> {
        Some(list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn a_comma_separates_only_before_another_pair() {
        assert_eq!(split_map("a=1,b=2,3"), pairs(&[("a", "1"), ("b", "2,3")]));
        assert_eq!(
            split_map("a=1,2,b=3"),
            None,
            "as ALBC reads it: write a backslash before such a comma"
        );
        assert_eq!(split_map(r"a=1\,b=2"), pairs(&[("a", "1,b=2")]));
        assert_eq!(split_map(" a = 1 , b="), pairs(&[("a", "1"), ("b", "")]));
        assert_eq!(split_map("a"), None);
        assert_eq!(split_map("=1"), None);
    }

    #[test]
    fn a_typo_is_answered_with_what_was_meant() {
        assert_eq!(nearest("shceme", false), Some("scheme"));
        assert_eq!(nearest("target-typ", true), Some("target-type"));
        assert_eq!(nearest("auth-type", false), None);
    }

    #[test]
    fn keys_are_sorted_and_unique() {
        assert!(TABLE.windows(2).all(|pair| pair[0].key < pair[1].key));
    }
}
