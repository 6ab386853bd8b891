//! Where a key belongs that stands in another table.

use super::raw::{RawDefaults, RawPlatform, RawRoute, RawServer, RawUpstream};

/// The tables that have most of the keys, as they are written.
const HOMES: [(&str, &[&str]); 5] = [
    ("`[server]`", RawServer::KEYS),
    ("`[platforms.<name>]`", RawPlatform::KEYS),
    ("`[upstreams.<name>]`", RawUpstream::KEYS),
    ("`[defaults]`", RawDefaults::KEYS),
    ("`[routes.<name>]`", RawRoute::KEYS),
];

/// The help for a key that is none where it stands, but is one elsewhere.
pub(super) fn help(key: &str) -> Option<String> {
    let homes: Vec<&str> =
        HOMES.iter().filter(|(_, keys)| keys.contains(&key)).map(|(home, _)| *home).collect();
    (!homes.is_empty()).then(|| format!("`{key}` is a key of {}", homes.join(" and ")))
}

#[cfg(test)]
mod tests {
    use crate::table::misplaced_keys::*;

    #[test]
    fn a_key_of_another_table_is_told_its_place() {
        assert_eq!(help("retry").as_deref(), Some("`retry` is a key of `[upstreams.<name>]`"));
        assert_eq!(
            help("limit").as_deref(),
            Some("`limit` is a key of `[upstreams.<name>]` and `[routes.<name>]`")
        );
        assert_eq!(help("retries"), None);
    }
}
