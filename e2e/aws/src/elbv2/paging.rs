//! Markers: where the next page of an answer begins.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::fault::AwsError;

/// How much of an answer is wanted, from where on.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Paging {
    marker: Option<String>,
    page_size: Option<usize>,
}

/// One page.
#[derive(Debug)]
pub(super) struct Page<T> {
    pub items: Vec<T>,
    /// To be given as `Marker`; none on the last page.
    pub next: Option<String>,
}

/// What the service answers at once when `PageSize` is not given; its documentation gives only the bounds 1 and 400.
const PAGE: usize = 400;

impl Paging {
    /// The wanted page of items that come in the order of their keys. A marker stands for the key of the last item that was
    /// answered, so that what comes and goes between two pages neither repeats nor hides anything else.
    pub fn page<T>(&self, mut items: Vec<(String, T)>) -> Result<Page<T>, AwsError> {
        items.sort_by(|(one, _), (other, _)| one.cmp(other));
        if let Some(marker) = &self.marker {
            let decoded = URL_SAFE_NO_PAD
                .decode(marker)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok());
            let last = decoded.ok_or_else(|| AwsError::validation("Invalid marker"))?;
            items.retain(|(key, _)| *key > last);
        }
        let size = self.page_size.unwrap_or(PAGE);
        let more = items.len() > size;
        items.truncate(size);
        let next = if more {
            items.last().map(|(key, _)| URL_SAFE_NO_PAD.encode(key))
        } else {
            None
        };
        Ok(Page {
            items: items.into_iter().map(|(_, item)| item).collect(),
            next,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_neither_repeat_nor_hide_an_item_when_others_vanish() {
        let items = |keys: &[&str]| {
            keys.iter()
                .map(|key| (key.to_string(), key.to_string()))
                .collect::<Vec<_>>()
        };
        let first = Paging {
            marker: None,
            page_size: Some(2),
        }
        .page(items(&["d", "a", "c", "b", "e"]))
        .unwrap();
        assert_eq!(first.items, ["a", "b"]);
        let second = Paging {
            marker: first.next,
            page_size: Some(2),
        }
        .page(items(&["c", "d", "e"]))
        .unwrap();
        assert_eq!(second.items, ["c", "d"]);
        let third = Paging {
            marker: second.next,
            page_size: Some(2),
        }
        .page(items(&["e"]))
        .unwrap();
        assert_eq!((third.items, third.next), (vec!["e".to_owned()], None));
        assert_eq!(
            Paging {
                marker: Some("?".into()),
                page_size: None
            }
            .page::<()>(vec![])
            .unwrap_err()
            .code,
            "ValidationError"
        );
    }
}
