//! Values of extension keys on their way to the platform.

use serde_json::{Map, Value};

use crate::platform::Platform;

/// Lets the platform check the values of its extension keys. Values that it does not accept are dropped.
pub(super) fn filter_extensions(
    platform: &dyn Platform,
    extensions: Map<String, Value>,
    dropped: &mut Vec<String>,
) -> Map<String, Value> {
    extensions
        .into_iter()
        .filter_map(|(key, value)| {
            let (accepted, problems) = platform.filter_extension(&key, value);
            dropped.extend(problems);
            accepted.map(|value| (key, value))
        })
        .collect()
}
