//! Exact decimal numbers over their digits: comparison and rounding without a binary number in between.

use std::cmp::Ordering;

/// The most digits before the point of a number that is written out.
const MAX_WHOLE: i64 = 400;

/// A decimal number, as its text has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decimal<'t> {
    is_negative: bool,
    /// The digits before the point, without leading zeros.
    whole: &'t str,
    /// The digits behind the point, without trailing zeros.
    fraction: &'t str,
    /// The power of ten that the digits are multiplied by.
    exponent: i64,
}

impl<'t> Decimal<'t> {
    /// Reads a number as JSON writes it; `+1`, `.5` and `5.` are numbers too.
    pub(crate) fn parse(text: &'t str) -> Option<Self> {
        let (is_negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (digits, exponent) = match text.split_once(['e', 'E']) {
            Some((digits, exponent)) => (digits, i64::from(exponent.parse::<i32>().ok()?)),
            None => (text, 0),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.len() + fraction.len() == 0 || !are_digits(whole) || !are_digits(fraction) {
            return None;
        }
        let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
        Some(Self { is_negative, whole, fraction, exponent })
    }

    /// Whether it is zero.
    pub(crate) fn is_zero(self) -> bool {
        self.digits().all(|digit| digit == b'0')
    }

    /// Whether it is 1 or -1.
    pub(crate) fn is_one(self) -> bool {
        let one = Self { is_negative: false, whole: "1", fraction: "", exponent: 0 };
        Self { is_negative: false, ..self }.order(one) == Ordering::Equal
    }

    /// The order of two numbers.
    pub(crate) fn order(self, other: Self) -> Ordering {
        match (self.sign(), other.sign()) {
            (own, others) if own != others => own.cmp(&others),
            (0, _) => Ordering::Equal,
            (sign, _) => {
                let order = self.order_of_size(other);
                if sign < 0 { order.reverse() } else { order }
            }
        }
    }

    /// The number rounded to this many digits behind the point, half away from zero, as JSON writes it: without trailing
    /// zeros behind the point. `None` if it has too many digits before the point.
    pub(crate) fn rounded(self, digits: u32) -> Option<String> {
        let point = self.point();
        if self.is_zero() {
            return Some("0".to_owned());
        }
        if point > MAX_WHOLE {
            return None;
        }
        let kept = point + i64::from(digits);
        let mut out: Vec<u8> = self.significant().take(usize::try_from(kept).unwrap_or(0)).collect();
        let next = usize::try_from(kept).ok().and_then(|kept| self.significant().nth(kept));
        let mut point = point;
        if next.is_some_and(|digit| digit >= b'5') && increment(&mut out) {
            point += 1;
        }
        Some(written(self.is_negative, &out, point))
    }

    /// Writes the number so that equal numbers have the same text.
    pub(crate) fn write_canonical(self, out: &mut String) {
        if self.is_zero() {
            return out.push('0');
        }
        if self.is_negative {
            out.push('-');
        }
        let start = out.len();
        out.extend(self.significant().map(char::from));
        let kept = out.trim_end_matches('0').len();
        out.truncate(kept.max(start));
        out.push('e');
        out.push_str(&self.point().to_string());
    }

    fn digits(self) -> impl Iterator<Item = u8> + 't {
        self.whole.bytes().chain(self.fraction.bytes())
    }

    /// The digits from the first one that is not zero.
    fn significant(self) -> impl Iterator<Item = u8> + 't {
        self.digits().skip_while(|digit| *digit == b'0')
    }

    /// The position of the point: how many of the significant digits are before it.
    fn point(self) -> i64 {
        let before = match self.whole {
            "" => -length(self.fraction.bytes().take_while(|digit| *digit == b'0').count()),
            whole => length(whole.len()),
        };
        before + self.exponent
    }

    /// -1, 0 or 1.
    fn sign(self) -> i8 {
        match (self.is_zero(), self.is_negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }

    /// The order of two numbers that are not zero, regardless of their signs.
    fn order_of_size(self, other: Self) -> Ordering {
        let by_point = self.point().cmp(&other.point());
        by_point.then_with(|| {
            let (own, others) = (self.significant(), other.significant());
            let is_zero = |digit: &u8| *digit == b'0';
            let (mut own, mut others) = (own.peekable(), others.peekable());
            loop {
                match (own.next(), others.next()) {
                    (Some(own), Some(others)) if own == others => {}
                    (Some(own), Some(others)) => return own.cmp(&others),
                    (None, None) => return Ordering::Equal,
                    // Zeros at the end do not count.
                    (Some(first), None) => {
                        let rest = is_zero(&first) && own.all(|digit| is_zero(&digit));
                        return if rest { Ordering::Equal } else { Ordering::Greater };
                    }
                    (None, Some(first)) => {
                        let rest = is_zero(&first) && others.all(|digit| is_zero(&digit));
                        return if rest { Ordering::Equal } else { Ordering::Less };
                    }
                }
            }
        })
    }
}

fn length(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX / 4)
}

/// Adds one to the last digit. Returns whether there is one digit more now.
fn increment(digits: &mut Vec<u8>) -> bool {
    for digit in digits.iter_mut().rev() {
        if *digit < b'9' {
            *digit += 1;
            return false;
        }
        *digit = b'0';
    }
    digits.insert(0, b'1');
    true
}

/// The number with these digits and its point at this position.
fn written(is_negative: bool, digits: &[u8], point: i64) -> String {
    let used = digits.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
    let Some(digits) = digits.get(..used).filter(|digits| !digits.is_empty()) else { return "0".to_owned() };
    let mut out = String::from(if is_negative { "-" } else { "" });
    let zeros = |out: &mut String, count: i64| (0..count).for_each(|_| out.push('0'));
    let before = usize::try_from(point).unwrap_or(0).min(digits.len());
    let push = |out: &mut String, digits: &[u8]| out.extend(digits.iter().map(|digit| char::from(*digit)));
    if before == 0 {
        out.push('0');
    }
    push(&mut out, &digits[..before]);
    zeros(&mut out, point - length(before));
    if before < digits.len() {
        out.push('.');
        zeros(&mut out, -point);
        push(&mut out, &digits[before..]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_by_value() {
        let ascending = [
            "-1e400",
            "-12345678901234567890.2",
            "-12345678901234567890.1",
            "-2",
            "-1.5",
            "-0.001",
            "0",
            "1e-400",
            "0.0000000000000000000000000000001",
            "0.1",
            "0.10000000000000000000000000000000001",
            "0.5",
            "1",
            "1.5",
            "9.99e1",
            "100",
            "9007199254740992",
            "9007199254740993",
            "18446744073709551616",
            "18446744073709551616.000000001",
            "1e30",
            "1e400",
        ];
        let order = |a: &str, b: &str| Decimal::parse(a).unwrap().order(Decimal::parse(b).unwrap());
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(order(a, b), i.cmp(&j), "{a} {b}");
            }
        }
        for (a, b) in [
            ("1", "1.0"),
            ("1", "10e-1"),
            ("100", "1E+2"),
            ("-0", "0.00"),
            ("0e9", "0"),
            (".5", "0.50"),
            ("+5", "5."),
            ("007", "7"),
            ("0.00120", "12e-4"),
            ("120", "1.2e2"),
            ("1000.0", "1e3"),
        ] {
            assert_eq!(order(a, b), Ordering::Equal, "{a} {b}");
        }
        for text in [
            "",
            ".",
            "-",
            "e5",
            "1e",
            "1e5.5",
            "0x10",
            "1 ",
            "NaN",
            "inf",
            "1_000",
            "--1",
            "1e99999999999",
            "١",
        ] {
            assert!(Decimal::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn numbers_are_rounded_half_away_from_zero() {
        for (text, digits, expected) in [
            ("2.675", 2, "2.68"),
            ("-2.675", 2, "-2.68"),
            ("1.005", 2, "1.01"),
            ("0.5", 0, "1"),
            ("-0.5", 0, "-1"),
            ("0.49999999999999999999", 0, "0"),
            ("-0.001", 2, "0"),
            ("0.005", 2, "0.01"),
            ("0.0049", 2, "0"),
            ("99.995", 2, "100"),
            ("999.5", 0, "1000"),
            ("22.999", 2, "23"),
            ("19.10", 2, "19.1"),
            ("396.00", 2, "396"),
            ("12345678901234567890123.455", 2, "12345678901234567890123.46"),
            ("9007199254740993.5", 0, "9007199254740994"),
            ("0.123456789012345678901234567895", 29, "0.1234567890123456789012345679"),
            ("1e3", 0, "1000"),
            ("1.25e1", 0, "13"),
            ("125e-3", 2, "0.13"),
            ("5e-3", 2, "0.01"),
            ("5e-4", 2, "0"),
            ("1e-400", 15, "0"),
            ("0e999", 2, "0"),
        ] {
            assert_eq!(Decimal::parse(text).unwrap().rounded(digits).unwrap(), expected, "{text} {digits}");
        }
        assert_eq!(Decimal::parse("1e401").unwrap().rounded(0), None);
        assert_eq!(Decimal::parse("1e308").unwrap().rounded(0).unwrap().len(), 309);
    }
}
