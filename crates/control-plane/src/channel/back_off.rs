//! How long to wait after failures.

use std::time::Duration;

use crate::clock::{NoEntropy, entropy};

/// The wait after the first failure; it doubles with each one.
const FIRST: Duration = Duration::from_secs(1);
/// How many failures in a row the wait grows for.
const MOST_DOUBLINGS: u32 = 16;

/// The wait after so many failures in a row: between half of it and all of it, so that what failed together
/// is not tried again together.
pub(super) fn after(failures: u32, longest: Duration) -> Duration {
    let doublings = failures.saturating_sub(1).min(MOST_DOUBLINGS);
    let whole = FIRST.saturating_mul(1 << doublings).min(longest);
    jittered(whole, entropy())
}

fn jittered(whole: Duration, random: Result<[u8; 1], NoEntropy>) -> Duration {
    // Without randomness the wait is as long as it may be.
    let [byte] = random.unwrap_or([u8::MAX]);
    whole / 2 + (whole / 2) * u32::from(byte) / u32::from(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_grows_and_stays_bounded() {
        let longest = Duration::from_secs(900);
        for (failures, whole) in [(0, 1), (1, 1), (2, 2), (4, 8), (10, 512), (11, 900), (u32::MAX, 900)] {
            let whole = Duration::from_secs(whole);
            let wait = after(failures, longest);
            assert!(wait >= whole / 2 && wait <= whole, "{failures}: {wait:?}");
        }
        assert_eq!(jittered(FIRST, Ok([0])), FIRST / 2);
        assert_eq!(jittered(FIRST, Ok([255])), FIRST);
    }
}
