//! Points in time and spans, both passed in from outside: nothing here reads a clock.

use std::{fmt, str::FromStr};

use jiff::SignedDuration;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A point in time, in whole milliseconds since the Unix epoch (UTC).
///
/// Written as RFC 3339 with milliseconds (`2026-03-01T12:00:00.000Z`) wherever people or canonical
/// JSON see it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The point that many milliseconds after the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down (a JWT `NumericDate`, RFC 7519 §2).
    #[must_use]
    pub const fn as_seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// This point plus a span; saturates at the end of time.
    #[must_use]
    pub const fn plus(self, span: Seconds) -> Self {
        Self(self.0.saturating_add(span.as_millis()))
    }

    /// This point minus a span; saturates at the beginning of time.
    #[must_use]
    pub const fn minus(self, span: Seconds) -> Self {
        Self(self.0.saturating_sub(span.as_millis()))
    }

    /// Milliseconds from `earlier` to this point; negative when `earlier` is later.
    #[must_use]
    pub const fn millis_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(at) => write!(f, "{at:.3}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

/// A text that is not an RFC 3339 time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time like 2026-03-01T12:00:00Z")]
pub struct TimestampError(String);

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        text.parse::<jiff::Timestamp>()
            .map(|at| Self(at.as_millisecond()))
            .map_err(|_| TimestampError(text.chars().take(64).collect()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// A span of whole seconds, written `"15m"`, `"1h 30m"`, `"90s"` or `"7d"` in configuration; a day is 24 hours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seconds(u32);

impl Seconds {
    /// A span of that many seconds.
    #[must_use]
    pub const fn new(seconds: u32) -> Self {
        Self(seconds)
    }

    /// The span in seconds.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The span in milliseconds.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0 as i64 * 1000
    }

    /// The span for `tokio` and `std` timers.
    #[must_use]
    pub const fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_secs(self.0 as u64)
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", SignedDuration::from_secs(i64::from(self.0)))
    }
}

/// A text that is not a span of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a span of whole seconds like \"90s\", \"15m\", \"1h 30m\" or \"7d\"")]
pub struct SecondsError(String);

impl FromStr for Seconds {
    type Err = SecondsError;

    fn from_str(text: &str) -> Result<Self, SecondsError> {
        seconds(text).map(Self).ok_or_else(|| SecondsError(text.chars().take(64).collect()))
    }
}

/// The seconds of a span. Days are read here: they have no fixed length for `SignedDuration`.
fn seconds(text: &str) -> Option<u32> {
    let (days, rest) = match text.trim().split_once('d') {
        Some((days, rest)) if days.bytes().all(|byte| byte.is_ascii_digit()) => {
            (days.parse().ok()?, rest.trim())
        }
        _ => (0_u32, text),
    };
    let rest = if rest.is_empty() && days > 0 { SignedDuration::ZERO } else { rest.parse().ok()? };
    let rest = u32::try_from(rest.as_secs()).ok().filter(|_| rest.subsec_nanos() == 0)?;
    days.checked_mul(86_400)?.checked_add(rest)
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_reads_what_it_writes() {
        let at: Timestamp = "2026-03-01T12:00:00.250Z".parse().unwrap();
        assert_eq!(at.to_string(), "2026-03-01T12:00:00.250Z");
        assert_eq!(at.as_seconds() * 1000 + 250, at.as_millis());
        assert!("yesterday".parse::<Timestamp>().is_err());
    }

    #[test]
    fn spans_are_whole_seconds() {
        assert_eq!("15m".parse(), Ok(Seconds::new(900)));
        assert_eq!("1h 30m".parse(), Ok(Seconds::new(5400)));
        assert_eq!(Seconds::new(900).to_string(), "15m");
        assert_eq!("7d".parse(), Ok(Seconds::new(604_800)));
        assert_eq!("1d 12h".parse(), Ok(Seconds::new(129_600)));
        for text in ["d", "0.5d", "-1d", "1dd", "1d 1d", "99999999d"] {
            assert!(text.parse::<Seconds>().is_err(), "{text}");
        }
        assert!("1.5s".parse::<Seconds>().is_err());
        assert!("-1s".parse::<Seconds>().is_err());
        assert!("soon".parse::<Seconds>().is_err());
    }

    #[test]
    fn time_saturates_instead_of_wrapping() {
        let end = Timestamp::from_millis(i64::MAX);
        assert_eq!(end.plus(Seconds::new(1)), end);
    }
}
