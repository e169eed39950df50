//! Where two trees differ.

use serde_json::Value;
use std::fmt;

/// One place where two trees differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where, as keys from the root.
    pub path: Vec<String>,
    /// What was recorded, or is expected; `Null` when there should be nothing.
    pub expected: Value,
    /// What is there.
    pub actual: Value,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |value: &Value| {
            let text = value.to_string();
            if text.chars().count() > 300 {
                format!("{}…", text.chars().take(300).collect::<String>())
            } else {
                text
            }
        };
        write!(
            f,
            "{}: expected {}, got {}",
            self.path.join(" › "),
            short(&self.expected),
            short(&self.actual)
        )
    }
}

/// Every place where `actual` differs from `expected`. An absent field and null are the same.
pub fn compare(expected: &Value, actual: &Value) -> Vec<Difference> {
    let mut differences = Vec::new();
    walk(&mut Vec::new(), expected, actual, &mut differences);
    differences
}

fn walk(path: &mut Vec<String>, expected: &Value, actual: &Value, differences: &mut Vec<Difference>) {
    match (expected, actual) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                path.push(key.clone());
                walk(
                    path,
                    a.get(key).unwrap_or(&Value::Null),
                    b.get(key).unwrap_or(&Value::Null),
                    differences,
                );
                path.pop();
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (n, (a, b)) in a.iter().zip(b).enumerate() {
                path.push(n.to_string());
                walk(path, a, b, differences);
                path.pop();
            }
        }
        (a, b) if a != b => differences.push(Difference {
            path: path.clone(),
            expected: a.clone(),
            actual: b.clone(),
        }),
        _ => {}
    }
}
