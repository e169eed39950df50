//! Patterns of rule conditions: `*` and `?`, or a regular expression.

use regex::{Regex, RegexBuilder};

/// A value of a condition.
#[derive(Clone, Debug)]
pub enum Pattern {
    /// With wildcards: `*` stands for zero or more characters, `?` for one. A backslash makes the next character literal.
    Wildcard {
        /// The pattern.
        text: String,
        /// Whether case matters (it does in paths only).
        case: bool,
    },
    /// A regular expression.
    Expression(Regex),
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Pattern::Wildcard { text: a, case: x }, Pattern::Wildcard { text: b, case: y }) => a == b && x == y,
            (Pattern::Expression(a), Pattern::Expression(b)) => a.as_str() == b.as_str(),
            _ => false,
        }
    }
}

impl Pattern {
    /// A wildcard pattern for hosts, header values and query strings, which are compared without regard to case.
    pub fn any_case(text: impl Into<String>) -> Pattern {
        Pattern::Wildcard {
            text: text.into(),
            case: false,
        }
    }

    /// A wildcard pattern for paths, which are compared with regard to case.
    pub fn exact_case(text: impl Into<String>) -> Pattern {
        Pattern::Wildcard {
            text: text.into(),
            case: true,
        }
    }

    /// A regular expression; hosts are compared in any case (`case` false), paths are not.
    ///
    /// # Errors
    /// When it is not a regular expression.
    pub fn expression(text: &str, case: bool) -> Result<Pattern, regex::Error> {
        Ok(Pattern::Expression(
            RegexBuilder::new(text).case_insensitive(!case).build()?,
        ))
    }

    /// Whether the whole of `value` fits a wildcard pattern, or a regular expression is found in it.
    pub fn matches(&self, value: &str) -> bool {
        match self {
            Pattern::Wildcard { text, case } => wildcard(&Token::all(text, *case), value, *case),
            Pattern::Expression(expression) => expression.is_match(value),
        }
    }
}

#[derive(PartialEq)]
enum Token {
    Any,
    One,
    Char(char),
}

fn fold(c: char, case: bool) -> char {
    if case { c } else { c.to_ascii_lowercase() }
}

impl Token {
    fn all(text: &str, case: bool) -> Vec<Token> {
        let mut tokens = Vec::with_capacity(text.len());
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '*' => Token::Any,
                '?' => Token::One,
                '\\' => Token::Char(fold(chars.next().unwrap_or('\\'), case)),
                c => Token::Char(fold(c, case)),
            });
        }
        tokens
    }
}

/// Greedy matching with one point of return, linear in practice and quadratic at worst: a pattern of many stars
/// must not let a client stall the load balancer.
fn wildcard(pattern: &[Token], value: &str, case: bool) -> bool {
    let value: Vec<char> = value.chars().map(|c| fold(c, case)).collect();
    let (mut p, mut v) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while v < value.len() {
        match pattern.get(p) {
            Some(Token::Any) => {
                star = Some((p, v));
                p += 1;
            }
            Some(Token::One) => (p, v) = (p + 1, v + 1),
            Some(Token::Char(c)) if *c == value[v] => (p, v) = (p + 1, v + 1),
            _ => match star {
                Some((at, eaten)) => {
                    star = Some((at, eaten + 1));
                    (p, v) = (at + 1, eaten + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|token| *token == Token::Any)
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn wildcards_stand_for_any_number_and_for_one_character() {
        for (pattern, value, fits) in [
            ("/a", "/a", true),
            ("/a", "/a/", false),
            ("/a", "/A", false),
            ("/a/*", "/a/", true),
            ("/a/*", "/a", false),
            ("/a/*/c", "/a/b/b/c", true),
            ("/a/*/c", "/a/b/b/d", false),
            ("/?", "/x", true),
            ("/?", "/", false),
            ("/?", "/xy", false),
            ("*", "", true),
            ("/*a*a*a*b", &format!("/{}", "a".repeat(200)), false),
            ("/a\\*", "/a*", true),
            ("/a\\*", "/ab", false),
        ] {
            assert_eq!(
                Pattern::exact_case(pattern).matches(value),
                fits,
                "{pattern} against {value}"
            );
        }
    }

    #[test]
    fn hosts_are_compared_in_any_case() {
        assert!(Pattern::any_case("*.Example.com").matches("shop.eXample.COM"));
        assert!(!Pattern::any_case("*.example.com").matches("example.com"));
        assert!(
            Pattern::expression("^shop[0-9]+\\.example\\.com$", false)
                .unwrap()
                .matches("SHOP12.example.com")
        );
        assert!(!Pattern::expression("^/api/v[0-9]$", true).unwrap().matches("/API/v1"));
    }
}
