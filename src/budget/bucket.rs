//! One token bucket as we believe AWS keeps it.

use super::table::Rate;
use governor::{
    Quota, RateLimiter,
    clock::{Clock, FakeRelativeClock},
    middleware::StateInformationMiddleware,
    state::{InMemoryState, NotKeyed},
};
use std::{num::NonZeroU32, time::Duration};
use tokio::time::Instant;

/// However often AWS refuses: a bucket that is never asked never learns that it may be asked again.
const SLOWEST: f64 = 1.0 / 16.0;
/// What each granted call gives back of the ceiling, by the share (0–1] of it that is believed to be granted: 0.3 % at a
/// third. Per call, not per second: a bucket that is asked often must recover no faster than one that is asked rarely, or
/// several controllers never come to rest. By the share: who has little comes back faster than who has much, so that three
/// controllers that always have more to do get within 20 % of a third each in half an hour (50 % if every call gave the
/// same), for as many refusals.
const RECOVERY: f64 = 0.001;
/// A granted call gives back this at most: many controllers must not all come back fast.
const FASTEST: f64 = 0.005;
/// A bucket that fills slower than this keeps its rate; a refusal only empties it.
const TOO_SLOW_TO_HALVE: f64 = 1.0;

/// A bucket of tokens.
///
/// governor keeps the arithmetic, at a fixed quota; a lower rate is the same quota on a slower clock, so that relearning the
/// rate loses nothing. That is why the clock is governor's hand-moved one: it follows tokio's time times `speed`.
pub struct Bucket {
    limiter: RateLimiter<NotKeyed, InMemoryState, FakeRelativeClock, StateInformationMiddleware>,
    clock: FakeRelativeClock,
    /// How far `clock` was moved.
    moved: Instant,
    /// Share (0–1] of the ceiling that AWS is believed to grant.
    speed: f64,
    ceiling: Rate,
    /// Tokens that were left when `clock` was last moved, but for the reserve; at most the tokens of `limiter`.
    left: f64,
    /// Tokens set aside for the first lane, and how many there should be.
    reserve: (u32, u32),
    /// A token taken for a call that then had to wait for its account's bucket: kept for the head of the line.
    kept: bool,
    halved: Option<Instant>,
}

impl Bucket {
    /// A full bucket: how full AWS' own is cannot be known, and the first refusal will be believed.
    pub fn new(ceiling: Rate, reserve: u32, now: Instant) -> Self {
        let clock = FakeRelativeClock::default();
        let burst = NonZeroU32::new(ceiling.burst.saturating_sub(reserve)).unwrap_or(NonZeroU32::MIN);
        let period = Duration::from_secs_f64(1.0 / ceiling.per_second);
        let quota = Quota::with_period(period)
            .expect("rates are at most 10000 a second, so a period is never zero")
            .allow_burst(burst);
        Self {
            limiter: RateLimiter::direct_with_clock(quota, clock.clone()).with_middleware(),
            clock,
            moved: now,
            speed: 1.0,
            left: f64::from(burst.get()),
            reserve: (reserve, reserve),
            kept: false,
            halved: None,
            ceiling,
        }
    }

    /// Takes a token, or says how long until there may be one. `first` says that it is the first lane that asks.
    pub fn take(&mut self, first: bool, now: Instant) -> Result<(), Duration> {
        if std::mem::take(&mut self.kept) {
            return Ok(());
        }
        self.move_on(now);
        while !first && self.reserve.0 < self.reserve.1 {
            self.draw()?;
            self.reserve.0 += 1;
        }
        match self.draw() {
            Err(_) if first && self.reserve.0 > 0 => {
                self.reserve.0 -= 1;
                Ok(())
            }
            drawn => drawn,
        }
    }

    fn move_on(&mut self, now: Instant) {
        self.left = self.unreserved(now);
        self.clock.advance((now - self.moved).mul_f64(self.speed));
        self.moved = now;
    }

    fn draw(&mut self) -> Result<(), Duration> {
        match self.limiter.check() {
            Ok(after) => {
                self.left = f64::from(after.remaining_burst_capacity());
                Ok(())
            }
            Err(not_until) => {
                let wait = not_until.wait_time_from(self.clock.now()).div_f64(self.speed);
                // Rounded up, lest a sleeper wakes a hair too early and sleeps again.
                Err(wait + Duration::from_nanos(1))
            }
        }
    }

    /// Keeps a token that was taken for a call that cannot go yet.
    pub fn keep(&mut self) {
        self.kept = true;
    }

    /// AWS refused a call that was sent at `sent`: nothing is left, and unless a call sent before the last halving tells old
    /// news, half the rate is what we may count on. Returns whether it was halved.
    pub fn refused(&mut self, sent: Instant, now: Instant) -> bool {
        self.reserve.0 = 0;
        self.kept = false;
        self.move_on(now);
        while self.limiter.check().is_ok() {}
        self.left = 0.0;
        let news = self.halved.is_none_or(|halved| sent > halved);
        if self.ceiling.per_second < TOO_SLOW_TO_HALVE || !news {
            return false;
        }
        self.speed = (self.speed / 2.0).max(SLOWEST);
        self.halved = Some(now);
        true
    }

    /// AWS granted a call.
    pub fn granted(&mut self) {
        self.speed = (self.speed + (RECOVERY / self.speed).min(FASTEST)).min(1.0);
    }

    /// Tokens a second that AWS is believed to grant now.
    pub fn per_second(&self) -> f64 {
        self.ceiling.per_second * self.speed
    }

    /// Tokens that are left, to within one.
    pub fn tokens(&self, now: Instant) -> f64 {
        f64::from(self.reserve.0) + self.unreserved(now)
    }

    fn unreserved(&self, now: Instant) -> f64 {
        let filled = self.left + (now - self.moved).as_secs_f64() * self.per_second();
        filled.min(f64::from(self.ceiling.burst.saturating_sub(self.reserve.1).max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGISTER: Rate = Rate {
        per_second: 4.0,
        burst: 20,
    };

    fn drain(bucket: &mut Bucket, first: bool, now: Instant) -> u32 {
        (0..1000).take_while(|_| bucket.take(first, now).is_ok()).count() as u32
    }

    #[tokio::test(start_paused = true)]
    async fn a_bucket_gives_its_burst_and_then_its_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(REGISTER, 0, start);
        assert_eq!(drain(&mut bucket, false, start), 20);
        assert_eq!(drain(&mut bucket, false, start + Duration::from_millis(1001)), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_is_told() {
        let start = Instant::now();
        let mut bucket = Bucket::new(REGISTER, 4, start);
        let told = |bucket: &Bucket, seconds| bucket.tokens(start + Duration::from_secs(seconds)).round();
        assert_eq!(told(&bucket, 0), 20.0);
        assert_eq!(drain(&mut bucket, false, start), 16);
        assert_eq!(
            [0, 1, 2, 60].map(|seconds| told(&bucket, seconds)),
            [4.0, 8.0, 12.0, 20.0]
        );
        assert_eq!(drain(&mut bucket, true, start), 4);
        assert_eq!([0, 1, 60].map(|seconds| told(&bucket, seconds)), [0.0, 4.0, 16.0]);
        bucket.refused(start, start + Duration::from_secs(1));
        assert_eq!([1, 2, 3].map(|seconds| told(&bucket, seconds)), [0.0, 2.0, 4.0]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_reserve_is_the_first_lane_s_and_fills_before_others_drink() {
        let start = Instant::now();
        let mut bucket = Bucket::new(REGISTER, 4, start);
        assert_eq!(drain(&mut bucket, false, start), 16);
        assert_eq!(drain(&mut bucket, true, start), 4);
        assert_eq!(drain(&mut bucket, false, start + Duration::from_millis(1001)), 0);
        assert_eq!(drain(&mut bucket, true, start + Duration::from_millis(1001)), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_empties_the_bucket_and_halves_its_rate_once_per_congestion() {
        let start = Instant::now();
        let mut bucket = Bucket::new(REGISTER, 0, start);
        let later = start + Duration::from_secs(1);
        assert!(bucket.refused(start, later));
        assert!(!bucket.refused(start, later), "sent before the halving: old news");
        assert_eq!(bucket.per_second(), 2.0);
        assert_eq!(drain(&mut bucket, false, later + Duration::from_millis(999)), 1);
        for nth in 2..20 {
            let now = later + Duration::from_secs(nth);
            bucket.refused(now, now);
        }
        assert_eq!(bucket.per_second(), 0.25, "never below a sixteenth");
    }

    #[tokio::test(start_paused = true)]
    async fn a_halved_rate_climbs_back_by_granted_calls() {
        let start = Instant::now();
        let mut bucket = Bucket::new(REGISTER, 0, start);
        bucket.refused(start, start);
        for _ in 0..100 {
            bucket.granted();
        }
        assert!((bucket.per_second() - 2.68).abs() < 0.01, "{}", bucket.per_second());
        for _ in 0..300 {
            bucket.granted();
        }
        assert_eq!(bucket.per_second(), 4.0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_bucket_below_one_a_second_is_only_emptied() {
        let start = Instant::now();
        let rate = Rate {
            per_second: 0.2,
            burst: 10,
        };
        let mut bucket = Bucket::new(rate, 0, start);
        assert!(!bucket.refused(start, start));
        assert_eq!(bucket.per_second(), 0.2);
        assert_eq!(drain(&mut bucket, false, start + Duration::from_millis(4999)), 0);
        assert_eq!(drain(&mut bucket, false, start + Duration::from_millis(5001)), 1);
    }
}
