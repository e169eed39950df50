//! When the webhook's own certificate is exchanged for a new one, so that no admission fails. No clock and no API server
//! here: what is there and a moment come in, the next step goes out.
//!
//! ```text
//! bundle of the API servers   ├── A ──┼──────── A, B ────────┼── B ──►
//! certificate that is served  ├──────── by A ───────┼──── by B ──────►
//!                                     │             │        └ every replica serves the new one for a day
//!                                     │             └ every API server has known B for an hour
//!                                     └ two thirds of A's life are over
//! ```
//! Every replica may take each step, on what it has just read: whoever was faster makes the others look again.

use super::certificate::{Pair, VALID};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Age at which a certificate is exchanged: what goes wrong then has a month to be repaired.
const RENEW: Duration = Duration::from_secs(VALID.as_secs() / 3 * 2);

/// API servers know a bundle within seconds; one of them may be cut off for a while.
const SPREAD: Duration = Duration::from_secs(3600);

/// Replicas serve what is to be served within seconds; one of them may be cut off for a while.
const OVERLAP: Duration = Duration::from_secs(86_400);

/// What replicas share in their Secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// What is served.
    pub current: Pair,
    /// What will be, and since when every API server is told to trust it.
    next: Option<(Pair, Option<Timestamp>)>,
    /// Authorities of what some replica may still serve, and when they are dropped.
    previous: Option<(String, Timestamp)>,
}

impl Keys {
    /// The authorities that API servers have to trust.
    pub fn bundle(&self) -> String {
        let previous = self.previous.iter().map(|(ca, _)| ca.as_str());
        let next = self.next.iter().map(|(pair, _)| pair.ca.as_str());
        previous.chain([self.current.ca.as_str()]).chain(next).collect()
    }
}

/// What is to be done next.
#[derive(Clone, PartialEq, Eq)]
pub enum Step {
    /// Put these keys in place of those that were read.
    Write(Box<Keys>),
    /// Have API servers trust these authorities.
    Trust(String),
    /// Nothing.
    Rest,
}

/// The next step, when the Secret holds `keys` and API servers are told to trust `bundle` (`None` where no API server asks).
/// `make` makes a new certificate.
///
/// # Errors
/// A certificate cannot be made.
pub fn step<E>(
    keys: Option<&Keys>,
    bundle: Option<&str>,
    now: Timestamp,
    make: impl FnOnce() -> Result<Pair, E>,
) -> Result<Step, E> {
    let past = |since: Timestamp, long: Duration| {
        now.duration_since(since) >= SignedDuration::try_from(long).unwrap_or_default()
    };
    let Some(keys) = keys.filter(|keys| !past(keys.current.made, VALID)) else {
        // The Secret is new, or somebody emptied it: another replica may still serve what it held.
        let found = bundle.filter(|bundle| bundle.contains("BEGIN CERTIFICATE"));
        return Ok(Step::Write(Box::new(Keys {
            current: make()?,
            next: None,
            previous: found.map(|ca| (ca.to_owned(), now + OVERLAP)),
        })));
    };
    let wanted = keys.bundle();
    if bundle.is_some_and(|bundle| bundle != wanted) {
        return Ok(Step::Trust(wanted));
    }
    let mut after = keys.clone();
    match &keys.next {
        Some((pair, Some(trusted))) if past(*trusted, SPREAD) => {
            after.previous = Some((keys.current.ca.clone(), now + OVERLAP));
            after.current = pair.clone();
            after.next = None;
        }
        Some((_, Some(_))) => {}
        Some((pair, None)) => after.next = Some((pair.clone(), Some(now))),
        None if past(keys.current.made, RENEW) => after.next = Some((make()?, None)),
        None => {}
    }
    if after.previous.as_ref().is_some_and(|(_, until)| now >= *until) {
        after.previous = None;
    }
    Ok(if after == *keys {
        Step::Rest
    } else {
        Step::Write(Box::new(after))
    })
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A Secret, and a bundle: what the steps change.
    #[derive(Default)]
    pub struct Stage {
        pub keys: Option<Keys>,
        pub bundle: String,
    }

    impl Stage {
        /// What is served.
        pub fn current(&self) -> Pair {
            self.keys.as_ref().expect("keys").current.clone()
        }

        /// Takes every step that is due; returns how many there were.
        pub fn settle(&mut self, now: Timestamp, make: impl Fn() -> Pair) -> usize {
            for taken in 0.. {
                assert!(taken < 5, "it does not come to rest");
                let made = || Ok::<_, std::convert::Infallible>(make());
                match step(self.keys.as_ref(), Some(&self.bundle), now, made).unwrap() {
                    Step::Write(keys) => self.keys = Some(*keys),
                    Step::Trust(bundle) => self.bundle = bundle,
                    Step::Rest => return taken,
                }
            }
            unreachable!("the loop ends above")
        }
    }

    const DAY: u64 = 24;

    fn at(hours: u64) -> Timestamp {
        Timestamp::UNIX_EPOCH + Duration::from_secs(hours * 3600)
    }

    fn pair(name: &str, made: Timestamp) -> Pair {
        Pair {
            ca: format!("BEGIN CERTIFICATE {name};"),
            certificate: name.to_owned(),
            key: String::new(),
            made,
        }
    }

    #[test]
    fn a_new_authority_is_trusted_before_it_is_used_and_the_old_one_for_a_day_longer() {
        let mut stage = Stage::default();
        let mut look = |hours: u64| {
            let name = if hours < 60 * DAY { "A" } else { "B" };
            let steps = stage.settle(at(hours), || pair(name, at(hours)));
            let bundle = stage.bundle.replace("BEGIN CERTIFICATE ", "");
            let serves = stage.current().certificate;
            (steps, bundle, serves)
        };
        let is = |steps: usize, bundle: &str, serves: &str| (steps, bundle.to_owned(), serves.to_owned());
        assert_eq!(look(0), is(2, "A;", "A"), "made and trusted");
        assert_eq!(look(60 * DAY - 1), is(0, "A;", "A"));
        assert_eq!(
            look(60 * DAY),
            is(3, "A;B;", "A"),
            "made, trusted, and noted since when"
        );
        assert_eq!(look(60 * DAY), is(0, "A;B;", "A"));
        assert_eq!(look(60 * DAY + 1), is(1, "A;B;", "B"), "trusted for an hour");
        assert_eq!(look(61 * DAY), is(0, "A;B;", "B"));
        assert_eq!(look(61 * DAY + 1), is(2, "B;", "B"), "dropped, and no more trusted");
        assert_eq!(look(119 * DAY), is(0, "B;", "B"));
    }

    #[test]
    fn nobody_goes_on_before_the_bundle_is_what_it_should_be() {
        let mut stage = Stage::default();
        stage.settle(at(0), || pair("A", at(0)));
        let due = at(60 * DAY);
        stage.settle(due, || pair("B", due));
        let trusting = stage.bundle.clone();
        // Somebody put back an old one: it is repaired before B is used.
        stage.bundle = "BEGIN CERTIFICATE A;".to_owned();
        let later = at(60 * DAY + 2);
        let next = step(stage.keys.as_ref(), Some(&stage.bundle), later, || Err(())).unwrap();
        assert!(next == Step::Trust(trusting));
    }

    #[test]
    fn whoever_empties_the_secret_has_another_certificate_made_and_the_old_one_stays_trusted() {
        let mut stage = Stage::default();
        stage.settle(at(0), || pair("A", at(0)));
        stage.keys = None;
        stage.settle(at(1), || pair("B", at(1)));
        assert_eq!(stage.bundle, "BEGIN CERTIFICATE A;BEGIN CERTIFICATE B;");
        stage.settle(at(1 + DAY), || pair("C", at(1 + DAY)));
        assert_eq!(stage.bundle, "BEGIN CERTIFICATE B;");
    }

    #[test]
    fn what_ran_out_is_replaced_at_once_and_where_no_api_server_asks_time_alone_counts() {
        let mut stage = Stage::default();
        stage.settle(at(0), || pair("A", at(0)));
        let long_after = at(91 * DAY);
        assert!(stage.settle(long_after, || pair("B", long_after)) > 0);
        assert_eq!(stage.current().certificate, "B");
        let alone = step(stage.keys.as_ref(), None, long_after, || Err(())).unwrap();
        assert!(alone == Step::Rest);
    }

    #[test]
    fn a_certificate_that_is_not_made_changes_nothing() {
        assert_eq!(step(None, Some(""), at(0), || Err("no")).err(), Some("no"));
    }
}
