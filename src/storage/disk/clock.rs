//! Time, the date and randomness.

use std::time::{Duration, SystemTime};

use super::super::Instant;

/// CLOCK_BOOTTIME: goes on while the machine sleeps; answered by the vDSO without entering the kernel.
#[cfg(target_os = "linux")]
pub(crate) fn now() -> Instant {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Instant(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// mach_continuous_time under its POSIX name: on macOS it goes on while the machine sleeps (clock_gettime(3)).
#[cfg(target_vendor = "apple")]
pub(crate) fn now() -> Instant {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` has room for the answer; this clock is always there.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_RAW, &mut time) };
    Instant(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
pub(crate) fn now() -> Instant {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Instant(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// RFC 3339 in UTC with milliseconds.
pub(super) fn date() -> String {
    match jiff::Timestamp::try_from(SystemTime::now()) {
        Ok(date) => format!("{date:.3}"),
        Err(_) => "9999-12-31T23:59:59.999Z".into(),
    }
}

/// From the kernel; where that fails, a mix of clocks, the process and a counter: unlikely to repeat, easy to guess.
pub(crate) fn random() -> u64 {
    getrandom::u64().unwrap_or_else(|_| poor_random())
}

fn poor_random() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let date = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let parts = [date.as_nanos() as u64, now().0, u64::from(std::process::id()), CALLS.fetch_add(1, Ordering::Relaxed)];
    parts.into_iter().fold(0, |state, part| mix(state ^ part))
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(value: u64) -> u64 {
    let mut value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_forward_in_nanoseconds() {
        let before = now();
        std::thread::sleep(Duration::from_millis(2));
        let passed = now().since(before);
        assert!(passed >= Duration::from_millis(2) && passed < Duration::from_secs(60), "{passed:?}");
        assert_eq!(before.since(now()), Duration::ZERO);
    }

    #[test]
    fn the_date_is_rfc_3339_in_utc() {
        let date = date();
        assert!(date.starts_with("20") && date.ends_with('Z') && date.len() == 24, "{date}");
        assert!(date.parse::<jiff::Timestamp>().is_ok());
    }

    #[test]
    fn random_numbers_differ_even_without_the_kernel() {
        assert_ne!(random(), random());
        assert_ne!(poor_random(), poor_random());
    }
}
