//! Values of extension keys on their way to the platform.

use crate::call::ReplyExtension;
use crate::json::JsonText;
use crate::platform::Platform;

/// Lets the platform check the values of its extension keys. Values that it does not accept are dropped.
pub(super) fn filter_extensions(
    platform: &dyn Platform,
    extensions: &mut Vec<ReplyExtension>,
    dropped: &mut Vec<String>,
) {
    extensions.retain_mut(|extension| {
        if extension.is_valid {
            return true;
        }
        let (accepted, problems) = platform.filter_extension(&extension.key, extension.value.to_value());
        dropped.extend(problems);
        let Some(accepted) = accepted else { return false };
        extension.value = JsonText::from(accepted);
        extension.is_valid = true;
        true
    });
}
