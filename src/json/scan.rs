//! Skips white space and numbers of a JSON text, and checks their syntax.

/// A set bit for every byte of a word.
pub(super) const EACH: u64 = u64::from_le_bytes([1; 8]);

/// A number of at most this length without an exponent is in the range of a double.
const SAFE_DIGITS: usize = 300;

/// The position of the next byte that is not white space, and that byte.
#[inline]
pub(super) fn next(bytes: &[u8], at: usize) -> Option<(usize, u8)> {
    let byte = *bytes.get(at)?;
    if byte > b' ' { Some((at, byte)) } else { after_space(bytes, at) }
}

#[cold]
fn after_space(bytes: &[u8], mut at: usize) -> Option<(usize, u8)> {
    loop {
        let byte = *bytes.get(at)?;
        if !matches!(byte, b' ' | b'\n' | b'\t' | b'\r') {
            return Some((at, byte));
        }
        at += 1;
    }
}

/// The end of the number that starts at `start`.
pub(super) fn number(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = after(bytes, start, b"-");
    at = match bytes.get(at)? {
        b'0' => at + 1,
        _ => digits(bytes, at)?,
    };
    if bytes.get(at) == Some(&b'.') {
        at = digits(bytes, at + 1)?;
    }
    let has_exponent = matches!(bytes.get(at), Some(b'e' | b'E'));
    if has_exponent {
        at = digits(bytes, after(bytes, at + 1, b"+-"))?;
    }
    if has_exponent || at - start > SAFE_DIGITS {
        let text = std::str::from_utf8(bytes.get(start..at)?).ok()?;
        text.parse::<f64>().ok().filter(|number| number.is_finite())?;
    }
    Some(at)
}

/// The position after `at` if one of these bytes is there; otherwise `at`.
fn after(bytes: &[u8], at: usize, any: &[u8]) -> usize {
    at + usize::from(bytes.get(at).is_some_and(|byte| any.contains(byte)))
}

/// The end of a run of digits; `None` if there is none.
#[inline]
fn digits(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    while bytes.get(at).is_some_and(u8::is_ascii_digit) {
        at += 1;
    }
    (at > start).then_some(at)
}

/// The position of the next quote, backslash or control character; the end of the text if there is none.
#[inline]
pub(super) fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(word) = word_at(bytes, at) {
        let found = special_bytes(word);
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    last_plain_end(bytes, at)
}

/// [`plain_end`] for the last few bytes of the text.
fn last_plain_end(bytes: &[u8], at: usize) -> usize {
    let left = bytes.len().saturating_sub(at);
    if let (1..8, Some(word)) = (left, bytes.last_chunk().map(|word| u64::from_le_bytes(*word))) {
        // Shift out the bytes before `at` and fill up with spaces, which are never special.
        let spaces = EACH * u64::from(b' ');
        let found = special_bytes(word >> (64 - 8 * left) | spaces << (8 * left));
        return if found == 0 { bytes.len() } else { at + found.trailing_zeros() as usize / 8 };
    }
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    let rest = bytes.get(at..).unwrap_or_default();
    rest.iter().position(is_special).map_or(bytes.len(), |found| at + found)
}

/// The eight bytes from `at` on, with the first one in the lowest byte; `None` if fewer than eight are left.
#[inline]
pub(super) fn word_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|word| u64::from_le_bytes(*word))
}

/// Sets the high bit of each byte that is a quote, a backslash or a control character. A borrow may set bits above the
/// first match, so only the lowest set bit is reliable.
#[inline]
fn special_bytes(word: u64) -> u64 {
    let below = |word: u64, limit: u64| word.wrapping_sub(EACH * limit) & !word;
    let equal = |byte: u8| below(word ^ (EACH * u64::from(byte)), 1);
    (below(word, 0x20) | equal(b'"') | equal(b'\\')) & (EACH << 7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_special_byte_is_found_at_any_position() {
        for special in [b'"', b'\\', 0, 0x1f] {
            for length in 0..20 {
                for place in 0..length {
                    // The bytes just above and below the special ones are plain.
                    let mut text = b"!#[] \x80\xff~".repeat(3)[..length].to_vec();
                    text[place] = special;
                    for at in 0..=length {
                        let expected = if at <= place { place } else { length };
                        assert_eq!(plain_end(&text, at), expected, "{text:?} from {at}");
                    }
                }
            }
        }
    }
}
