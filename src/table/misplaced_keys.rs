//! The tables that a misplaced key belongs in.

use crate::diagnostic::Diagnostics;

use super::document::Located;
use super::raw::{RawDefaults, RawPlatform, RawRoute, RawServer, RawUpstream};
use super::reader::Reader;

/// The tables with most of the keys: how each is written, and its keys.
const HOMES: [(&str, &[&str]); 5] = [
    ("`[server]`", RawServer::KEYS),
    ("`[platforms.<name>]`", RawPlatform::KEYS),
    ("`[upstreams.<name>]`", RawUpstream::KEYS),
    ("`[defaults]`", RawDefaults::KEYS),
    ("`[routes.<name>]`", RawRoute::KEYS),
];

/// A reader whose help names the tables of misplaced keys.
pub(crate) fn reader(diagnostics: &mut Diagnostics) -> Reader<'_> {
    Reader::new(diagnostics, help)
}

/// Reports a key that its table does not have.
pub(crate) fn unknown_key(key: &Located<String>, known: &[&str], diagnostics: &mut Diagnostics) {
    reader(diagnostics).unknown_key(key, known);
}

/// The help for a key that belongs in other tables.
fn help(key: &str) -> Option<String> {
    if key == "include" {
        return Some("move `include` to the top of the file, above the first `[table]`".to_owned());
    }
    let homes: Vec<&str> =
        HOMES.iter().filter(|(_, keys)| keys.contains(&key)).map(|(home, _)| *home).collect();
    (!homes.is_empty()).then(|| format!("`{key}` is a key of {}", homes.join(" and ")))
}

#[cfg(test)]
mod tests {
    use crate::table::misplaced_keys::*;

    #[test]
    fn the_help_names_the_tables_of_a_misplaced_key() {
        assert_eq!(help("retry").as_deref(), Some("`retry` is a key of `[upstreams.<name>]`"));
        assert_eq!(
            help("limit").as_deref(),
            Some("`limit` is a key of `[upstreams.<name>]` and `[routes.<name>]`")
        );
        assert_eq!(
            help("include").as_deref(),
            Some("move `include` to the top of the file, above the first `[table]`")
        );
        assert_eq!(help("retries"), None);
    }
}
