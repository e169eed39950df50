//! What goes wrong, drawn at random: processes, the ways between them and AWS and the API server, and both of those.

use super::staff::Staff;
use crate::{api::Reply, bed::Bed};
use albacore_aws::{
    call::Service,
    faults::{Fault, Kind},
};
use fastrand::Rng;
use std::time::Duration;

/// Lets something go wrong; says what.
pub async fn strike(rng: &mut Rng, bed: &Bed, staff: &mut Staff) -> String {
    match rng.u8(..16) {
        0..5 => aws_fails(rng, bed),
        5 => {
            bed.double.clear_faults();
            bed.double.neighbour(Service::Elbv2, "account", 0.0);
            "AWS is well again".to_owned()
        }
        6 => {
            let rate = f64::from(rng.u8(1..8));
            bed.double.neighbour(Service::Elbv2, "account", rate);
            format!("a neighbour takes {rate} calls a second")
        }
        7 | 8 => kubernetes_fails(rng, bed),
        9 => {
            bed.api.clear_faults();
            "the API server is well again".to_owned()
        }
        10 => {
            bed.api.cut_watches();
            "all watches end".to_owned()
        }
        11 => {
            bed.api.store().compact();
            bed.api.cut_watches();
            "all watches end and have to list again".to_owned()
        }
        12 | 13 => staff.crash(rng, bed).await,
        14 => staff.cut_off(rng, bed),
        _ => staff.replace(rng, bed).await,
    }
}

fn aws_fails(rng: &mut Rng, bed: &Bed) -> String {
    let error = |status: u16, code: &str| Kind::Error {
        status,
        code: code.to_owned(),
        message: String::new(),
    };
    let kind = match rng.u8(..7) {
        0 | 1 => Kind::ReplyLost,
        2 => Kind::ResetBefore,
        3 => Kind::Throttle,
        4 => error(503, "ServiceUnavailable"),
        5 => error(500, "InternalFailure"),
        // Longer than anybody waits for an answer: applied, but nobody hears of it.
        _ => Kind::Latency(Duration::from_secs(rng.u64(1..15))),
    };
    let mut fault = Fault::new(kind).nth(rng.u64(1..8)).times(rng.u64(1..4));
    fault.writes = rng.bool();
    let said = format!("{:?}, {} times from call {} on", fault.kind, fault.times, fault.nth);
    bed.double.inject(fault);
    said
}

fn kubernetes_fails(rng: &mut Rng, bed: &Bed) -> String {
    let (often, lost) = (rng.u8(5..60), rng.bool());
    let mut draw = rng.fork();
    bed.api.set_faults(move |_| {
        if draw.u8(..100) >= often {
            return Reply::Serve;
        }
        if lost && draw.bool() {
            return Reply::Lose;
        }
        Reply::unavailable()
    });
    format!("{often} % of all requests to the API server fail, lost: {lost}")
}
