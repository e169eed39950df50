//! Lists that are read page by page: all pages are of the moment of the first.

use super::Refusal;
use serde_json::Value;
use std::collections::VecDeque;

/// So many lists are held for readers of their pages; an older one has expired, as it has after minutes on a real server.
const HELD: usize = 16;

/// The lists that somebody may go on reading.
#[derive(Debug, Default)]
pub struct Pages {
    lists: VecDeque<List>,
    count: u64,
}

#[derive(Debug)]
struct List {
    number: u64,
    revision: u64,
    objects: Vec<Value>,
}

/// A part of a list.
#[derive(Debug)]
pub struct Page {
    /// Revision of the list.
    pub revision: u64,
    /// Its objects.
    pub objects: Vec<Value>,
    /// What to ask for the next page with.
    pub token: Option<String>,
}

impl Pages {
    /// The first page of a list.
    pub fn first(&mut self, revision: u64, objects: Vec<Value>, limit: usize) -> Page {
        if objects.len() <= limit {
            return Page {
                revision,
                objects,
                token: None,
            };
        }
        self.count += 1;
        let token = Some(format!("{}/{limit}", self.count));
        let page = objects[..limit].to_vec();
        self.lists.push_back(List {
            number: self.count,
            revision,
            objects,
        });
        if self.lists.len() > HELD {
            self.lists.pop_front();
        }
        Page {
            revision,
            objects: page,
            token,
        }
    }

    /// A further page; the same token gives the same page again. What is older than `forgotten` has expired.
    pub fn next(&self, token: &str, limit: usize, forgotten: u64) -> Result<Page, Refusal> {
        let parts = token.split_once('/');
        let Some((number, skip)) = parts.and_then(|(n, skip)| Some((n.parse::<u64>().ok()?, skip.parse().ok()?)))
        else {
            return Err(Refusal::new(400, "BadRequest", "continue key is not valid"));
        };
        let held = self.lists.iter().find(|list| list.number == number);
        let Some(list) = held.filter(|list| list.revision >= forgotten) else {
            let message = "The provided continue parameter is too old to display a consistent list result.";
            return Err(Refusal::new(410, "Expired", message));
        };
        let end = list.objects.len().min(limit.saturating_add(skip));
        Ok(Page {
            revision: list.revision,
            objects: list.objects.get(skip..end).unwrap_or_default().to_vec(),
            token: (end < list.objects.len()).then(|| format!("{number}/{end}")),
        })
    }
}
