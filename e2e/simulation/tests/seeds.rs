//! A share of the seeds, and that a seed says it all; `make simulate` runs a thousand.

use albacore_simulation::seeds;
use std::process::Command;

/// As many as are run by every test run.
const SHARE: std::ops::RangeInclusive<u64> = 1..=24;

/// What is done in a seed, and every call to AWS, told by a process of its own.
fn told(seed: u64) -> Vec<u8> {
    let told = Command::new(env!("CARGO_BIN_EXE_albacore-simulation"))
        .args(["seeds", "--verbose", "--from", &seed.to_string()])
        .output();
    told.expect("a process").stdout
}

#[test]
fn a_seed_does_the_same_in_every_process() {
    let first = told(3);
    let calls = String::from_utf8_lossy(&first)
        .lines()
        .filter(|line| line.contains("CreateTargetGroup"))
        .count();
    assert!(calls > 0, "something happens in it");
    assert!(first == told(3), "two processes differ");
    assert!(first != told(4), "another seed does something else");
}

#[test]
fn a_share_of_the_seeds_holds() {
    let halves = [0, 1].map(|half| {
        std::thread::spawn(move || {
            let mine = SHARE.filter(|seed| seed % 2 == half);
            mine.filter_map(|seed| Some(format!("{}: {}", seeds::alone(seed), seeds::run(seed).broken?)))
                .collect()
        })
    });
    let broken: Vec<String> = halves
        .into_iter()
        .flat_map(|half| half.join().unwrap_or_else(|_| vec!["a seed panicked".to_owned()]))
        .collect();
    assert_eq!(broken, [""; 0]);
}
