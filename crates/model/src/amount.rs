//! Amounts: exact, never negative, bounded. Nothing here is a floating-point number.
//!
//! What cannot be read as exactly one amount is none: signs, exponents, separators, blanks, leading zeros, and
//! more digits than are kept.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

use crate::canonical::to_canonical_json;

/// How many digits an amount has before its point, at most.
const WHOLE_DIGITS: usize = 18;
/// How many it has after it.
const PLACES: usize = 9;

/// A text or value that is no amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an amount is a plain number such as 500 or \"499.95\": no sign, no exponent, at most {WHOLE_DIGITS} digits and {PLACES} decimals"
)]
pub struct AmountError;

/// How much of something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(u128);

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Reads an argument: a JSON number, by its canonical form (RFC 8785), or a text of the same form.
    ///
    /// # Errors
    /// When it is not exactly one amount.
    pub fn of(argument: &Value) -> Result<Self, AmountError> {
        match argument {
            Value::Number(_) => to_canonical_json(argument).map_err(|_| AmountError)?.parse(),
            Value::String(text) => text.parse(),
            _ => Err(AmountError),
        }
    }

    /// What is left of it.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl FromStr for Amount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        let (whole, fraction) = match text.split_once('.') {
            Some((_, "")) => return Err(AmountError),
            Some(parts) => parts,
            None => (text, ""),
        };
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let is_plain = (1..=WHOLE_DIGITS).contains(&whole.len()) && (whole == "0" || !whole.starts_with('0'));
        if !is_plain || fraction.len() > PLACES || !digits(whole) || !digits(fraction) {
            return Err(AmountError);
        }
        // At most 27 digits, of which a u128 holds 38.
        format!("{whole}{fraction:0<PLACES$}").parse().map(Self).map_err(|_| AmountError)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:0>width$}", self.0, width = PLACES + 1);
        let (whole, fraction) = digits.split_at(digits.len().saturating_sub(PLACES));
        match fraction.trim_end_matches('0') {
            "" => f.write_str(whole),
            fraction => write!(f, "{whole}.{fraction}"),
        }
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

/// Takes texts and whole numbers. A number with a point may have been rounded before it came here.
struct Reader;

impl de::Visitor<'_> for Reader {
    type Value = Amount;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number, or a text such as \"499.95\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Amount, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Amount, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Amount, E> {
        self.visit_str(&number.to_string())
    }
}

/// What one operation takes of a total.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charge {
    /// How much.
    pub amount: Amount,
    /// Of how much.
    pub total: Amount,
}

/// What is spent after one more operation, or `None` when any of its charges is more than is left. What is spent
/// has an entry for each charge, in the same order, and none at all before the first operation.
#[must_use]
pub fn spend(spent: &[Amount], charges: &[Charge]) -> Option<Vec<Amount>> {
    if !spent.is_empty() && spent.len() != charges.len() {
        return None;
    }
    let before = spent.iter().copied().chain(std::iter::repeat(Amount::ZERO));
    let after = charges.iter().zip(before).map(|(charge, before)| {
        let after = Amount(before.0.checked_add(charge.amount.0)?);
        (after <= charge.total).then_some(after)
    });
    after.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn amount(text: &str) -> Amount {
        text.parse().unwrap()
    }

    #[test]
    fn an_amount_is_a_plain_number() {
        for (argument, read) in [
            (json!(0), "0"),
            (json!(500), "500"),
            (json!(0.1), "0.1"),
            (json!(12.5), "12.5"),
            (json!(5.0), "5"),
            (json!("500.00"), "500"),
            (json!("0.000000001"), "0.000000001"),
            (json!("999999999999999999.999999999"), "999999999999999999.999999999"),
        ] {
            assert_eq!(Amount::of(&argument).unwrap().to_string(), read, "{argument}");
        }
    }

    /// Whatever somebody might read as another amount than we do is none.
    #[test]
    fn whatever_can_be_read_otherwise_is_no_amount() {
        for argument in [
            json!(-1),
            json!(-0.5),
            json!(1e21),
            json!(1e-7),
            json!(0.1 + 0.2),
            json!("-1"),
            json!("+1"),
            json!("1e3"),
            json!("0x10"),
            json!("010"),
            json!("00"),
            json!(".5"),
            json!("5."),
            json!("1.2.3"),
            json!("1,000"),
            json!("1_000"),
            json!(" 1"),
            json!("1\n"),
            json!("NaN"),
            json!("Infinity"),
            json!(""),
            json!("\u{661}"),
            json!("1000000000000000000"),
            json!("0.0000000001"),
            json!(true),
            json!(null),
            json!([1]),
            json!({"value": 1}),
        ] {
            assert_eq!(Amount::of(&argument), Err(AmountError), "{argument}");
        }
    }

    #[test]
    fn a_policy_writes_amounts_as_texts_or_whole_numbers() {
        let read = |value| serde_json::from_value::<Amount>(value);
        assert_eq!(read(json!("499.95")).unwrap(), amount("499.95"));
        assert_eq!(read(json!(500)).unwrap(), amount("500"));
        assert_eq!(serde_json::to_value(amount("499.95")).unwrap(), json!("499.95"));
        for refused in [json!(499.95), json!(-5), json!("five"), json!(null)] {
            assert!(read(refused.clone()).is_err(), "{refused}");
        }
    }

    #[test]
    fn spending_is_all_or_nothing() {
        let charge = |amount, total| Charge { amount: self::amount(amount), total: self::amount(total) };
        assert_eq!(spend(&[], &[]), Some(Vec::new()));
        let first = spend(&[], &[charge("0.1", "0.3"), charge("1", "1")]).unwrap();
        assert_eq!(first, [amount("0.1"), amount("1")]);
        assert_eq!(spend(&first, &[charge("0.1", "0.3"), charge("1", "1")]), None);
        assert_eq!(spend(&[amount("0.2")], &[charge("0.1", "0.3")]), Some(vec![amount("0.3")]));
        assert_eq!(spend(&first, &[charge("0", "1")]), None, "another budget than it was spent of");
    }

    proptest! {
        #[test]
        fn an_amount_reads_back(units in 0..10_u128.pow(27)) {
            let amount = Amount(units);
            prop_assert_eq!(amount.to_string().parse::<Amount>().unwrap(), amount);
        }

        /// Whatever is tried in whatever order, what went through is never more than the total.
        #[test]
        fn no_more_is_ever_spent_than_there_is(amounts in prop::collection::vec(0..10_u128.pow(27), 0..40), total in 0..10_u128.pow(27)) {
            let (mut spent, mut through) = (Vec::new(), 0_u128);
            for amount in amounts {
                let charge = Charge { amount: Amount(amount), total: Amount(total) };
                if let Some(after) = spend(&spent, &[charge]) {
                    through += amount;
                    spent = after;
                }
                prop_assert!(through <= total);
                prop_assert_eq!(spent.first().copied().unwrap_or_default(), Amount(through));
            }
        }
    }
}
