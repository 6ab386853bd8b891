//! The headers of a response, as their lines.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::memchr;

/// The headers of a response, as they were received. They are looked up line by line: a response has few headers, and a
/// call uses one or two of them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ResponseHeaders {
    /// Lines of a valid name, a colon and a valid value, which may have spaces around it. They hold no other memory.
    lines: Bytes,
}

impl ResponseHeaders {
    /// Copies lines that a parser has accepted, or that [`ResponseHeaders::lines`] gave.
    pub(crate) fn of_lines(lines: &[u8]) -> Self {
        Self { lines: Bytes::copy_from_slice(lines) }
    }

    /// The lines.
    pub fn lines(&self) -> &[u8] {
        &self.lines
    }

    /// The names as they were received, and the values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let mut rest = &*self.lines;
        std::iter::from_fn(move || {
            let (line, after) = next_line(rest)?;
            rest = after;
            let (name, value) = line.split_at_checked(memchr(b':', line)?)?;
            Some((std::str::from_utf8(name).ok()?, value.get(1..)?.trim_ascii()))
        })
    }

    /// The values of the headers with this name, in order.
    pub fn get_all(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let mut rest = &*self.lines;
        std::iter::from_fn(move || {
            loop {
                let (line, after) = next_line(rest)?;
                rest = after;
                let (found, value) = line.split_at_checked(name.len()).unwrap_or_default();
                if let [b':', value @ ..] = value
                    && found.eq_ignore_ascii_case(name.as_bytes())
                {
                    return Some(value.trim_ascii());
                }
            }
        })
    }

    /// The value of the first header with this name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.get_all(name).next()
    }

    /// The same value, if it is ASCII.
    pub fn ascii(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| value.is_ascii()).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The same value as text.
    pub fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        self.get(name).map(String::from_utf8_lossy)
    }

    /// The headers without those that have one of these names.
    #[must_use]
    pub fn without(&self, names: &[HeaderName]) -> Self {
        let is_named = |name: &str| names.iter().any(|removed| name.eq_ignore_ascii_case(removed.as_str()));
        self.iter().filter(|(name, _)| !is_named(name)).collect()
    }

    /// The first headers, as many as fit into `most` bytes.
    #[must_use]
    pub fn first(&self, most: usize) -> Self {
        let mut end = 0;
        while let Some((line, _)) = next_line(self.lines.get(end..).unwrap_or_default())
            && end + line.len() <= most
        {
            end += line.len();
        }
        Self::of_lines(self.lines.get(..end).unwrap_or_default())
    }

    /// The headers as a map.
    pub fn to_map(&self) -> HeaderMap {
        let parsed = |(name, value): (&str, &[u8])| {
            // Both are valid, so none is left out.
            Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_bytes(value).ok()?))
        };
        let mut map = HeaderMap::new();
        for (name, value) in self.iter().filter_map(parsed) {
            map.append(name, value);
        }
        map
    }
}

/// The first line with its end, and the lines after it; `None` if there is none.
fn next_line(lines: &[u8]) -> Option<(&[u8], &[u8])> {
    lines.split_at_checked(memchr(b'\n', lines)? + 1)
}

/// Names and values must be valid.
impl<'h> FromIterator<(&'h str, &'h [u8])> for ResponseHeaders {
    fn from_iter<I: IntoIterator<Item = (&'h str, &'h [u8])>>(headers: I) -> Self {
        let mut lines = Vec::new();
        for (name, value) in headers {
            for part in [name.as_bytes(), b": ", value, b"\r\n"] {
                lines.extend_from_slice(part);
            }
        }
        Self { lines: lines.into_boxed_slice().into() }
    }
}

impl From<&HeaderMap> for ResponseHeaders {
    fn from(headers: &HeaderMap) -> Self {
        headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect()
    }
}

impl std::fmt::Debug for ResponseHeaders {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let texts = self.iter().map(|(name, value)| (name, String::from_utf8_lossy(value)));
        formatter.debug_map().entries(texts).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{CONTENT_LENGTH, CONTENT_TYPE};

    fn headers() -> ResponseHeaders {
        let lines =
            b"Content-Type: text/plain\r\nX-Tag:one\r\nx-tag:\t two  \nX-Empty:\r\nx-tag-2: caf\xe9\r\n";
        ResponseHeaders::of_lines(lines)
    }

    #[test]
    fn headers_are_found_by_name_in_any_case() {
        let headers = headers();
        assert_eq!(headers.get("content-type"), Some(&b"text/plain"[..]));
        assert_eq!(headers.get_all("x-tag").collect::<Vec<_>>(), [&b"one"[..], b"two"]);
        assert_eq!(headers.get("x-empty"), Some(&b""[..]));
        assert_eq!(headers.text("X-TAG-2").as_deref(), Some("caf\u{fffd}"));
        assert_eq!((headers.ascii("x-tag-2"), headers.ascii("x-tag")), (None, Some("one")));
        for missing in ["x", "x-tag-", "x-tag-22", "content-type: text/plain", "", "\r"] {
            assert_eq!(headers.get(missing), None, "{missing}");
        }
        assert_eq!(ResponseHeaders::default().get("x"), None);
    }

    #[test]
    fn headers_become_a_map_and_back() {
        let headers = headers();
        let map = headers.to_map();
        assert_eq!(map.len(), 5);
        assert_eq!(map.get_all("x-tag").iter().collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(ResponseHeaders::from(&map).to_map(), map);
        assert_eq!(ResponseHeaders::of_lines(headers.lines()), headers);
    }

    #[test]
    fn headers_are_removed_by_name() {
        let left = headers().without(&[CONTENT_TYPE, CONTENT_LENGTH]);
        let names: Vec<_> = left.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["X-Tag", "x-tag", "X-Empty", "x-tag-2"]);
    }

    #[test]
    fn the_first_headers_fit_into_a_number_of_bytes() {
        let headers = headers();
        for (most, expected) in [(0, 0), (25, 0), (26, 1), (36, 1), (37, 2), (usize::MAX, 5)] {
            assert_eq!(headers.first(most).iter().count(), expected, "{most}");
        }
    }
}
