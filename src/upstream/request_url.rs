//! The URL of a request, put together without being parsed.

use std::fmt;
use std::sync::Arc;

use url::{Position, Url, form_urlencoded};

/// The URL of a request: an origin, a path and a query. The parts are escaped already, and nothing parses them again.
#[derive(Clone)]
pub struct RequestUrl {
    /// A URL with this scheme, host and port.
    origin: Arc<Url>,
    text: String,
    /// Where the path begins in `text`.
    path: usize,
    /// Where the path ends. If there is a query, its `?` is there.
    path_end: usize,
}

impl RequestUrl {
    /// The URL with the origin of `base`. `path` begins with a slash; an empty `query` is none. Both are escaped.
    pub fn new(base: &Arc<Url>, path: &str, query: &str) -> Self {
        let origin = &base[..Position::BeforePath];
        let mut text = String::with_capacity(origin.len() + path.len() + query.len() + 1);
        text.push_str(origin);
        text.push_str(path);
        let (path, path_end) = (origin.len(), text.len());
        let mut url = Self { origin: Arc::clone(base), text, path, path_end };
        url.set_query(query);
        url
    }

    /// Replaces the query, which is escaped. An empty one is none.
    pub fn set_query(&mut self, query: &str) {
        self.text.truncate(self.path_end);
        if !query.is_empty() {
            self.text.push('?');
            self.text.push_str(query);
        }
    }

    /// The whole URL.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// A URL with the scheme, host and port of this one.
    pub fn origin(&self) -> &Url {
        &self.origin
    }

    /// The path, with its first slash.
    pub fn path(&self) -> &str {
        self.text.get(self.path..self.path_end).unwrap_or_default()
    }

    /// The query, without its question mark; `None` without one.
    pub fn query(&self) -> Option<&str> {
        self.text.get(self.path_end + 1..)
    }

    /// The path and the query.
    pub fn path_and_query(&self) -> &str {
        self.text.get(self.path..).unwrap_or_default()
    }

    /// The parameters of the query, decoded.
    pub fn query_pairs(&self) -> form_urlencoded::Parse<'_> {
        form_urlencoded::parse(self.query().unwrap_or_default().as_bytes())
    }
}

impl From<Url> for RequestUrl {
    fn from(url: Url) -> Self {
        let path = url[..Position::BeforePath].len();
        let path_end = url[..Position::AfterPath].len();
        let text = url[..Position::AfterQuery].to_owned();
        Self { origin: Arc::new(url), text, path, path_end }
    }
}

impl std::str::FromStr for RequestUrl {
    type Err = url::ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Url::parse(text).map(Self::from)
    }
}

impl PartialEq for RequestUrl {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for RequestUrl {}

impl fmt::Display for RequestUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for RequestUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_those_that_a_parser_finds() {
        for text in [
            "http://api.example/",
            "https://api.example:8443/v1/orders",
            "http://[::1]:80/a%2Fb?x=1&y=%20",
            "http://api.example/?",
            "http://api.example/a?b?c",
        ] {
            let parsed = Url::parse(text).unwrap();
            let query = parsed.query().unwrap_or_default();
            let made = RequestUrl::new(&Arc::new(Url::parse("http://unused/").unwrap()), "/", "");
            assert_eq!((made.as_str(), made.query()), ("http://unused/", None));
            for url in [
                RequestUrl::new(&Arc::new(parsed.clone()), parsed.path(), query),
                RequestUrl::from(parsed.clone()),
            ] {
                assert_eq!((url.path(), url.query().unwrap_or_default()), (parsed.path(), query), "{text}");
                assert_eq!(url.path_and_query(), &url.as_str()[parsed[..Position::BeforePath].len()..]);
                assert_eq!(Url::parse(url.as_str()).unwrap().origin(), parsed.origin(), "{text}");
            }
        }
    }

    #[test]
    fn a_query_is_replaced() {
        let mut url: RequestUrl = "http://api.example/a?b=1".parse().unwrap();
        url.set_query("c=2");
        assert_eq!((url.as_str(), url.query()), ("http://api.example/a?c=2", Some("c=2")));
        url.set_query("");
        assert_eq!((url.as_str(), url.query()), ("http://api.example/a", None));
    }
}
