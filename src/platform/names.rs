//! The platforms' rules for function names.

/// The rule of a platform for function names, which consist of ASCII letters, digits and some punctuation.
#[derive(Debug)]
pub(super) struct NameRule {
    /// The accepted punctuation.
    pub(super) punctuation: &'static str,
    /// Whether a character may come first.
    pub(super) first: fn(char) -> bool,
    /// The maximum length, in characters.
    pub(super) max_length: usize,
    /// The rule in words, for the author of the table.
    pub(super) rule: &'static str,
}

impl NameRule {
    /// Checks a name; the error is the rule in words.
    pub(super) fn check(&self, name: &str) -> Result<(), &'static str> {
        let is_accepted =
            |character: char| character.is_ascii_alphanumeric() || self.punctuation.contains(character);
        let is_valid =
            name.starts_with(self.first) && name.len() <= self.max_length && name.chars().all(is_accepted);
        if is_valid { Ok(()) } else { Err(self.rule) }
    }
}

/// Accepts a letter or an underscore as the first character.
pub(super) fn letter_or_underscore(first: char) -> bool {
    first.is_ascii_alphabetic() || first == '_'
}

#[cfg(test)]
mod tests {
    use crate::platform::{Platform, dailybots, millis, swaig, voicedock};

    #[test]
    fn each_platform_has_its_own_rule() {
        let (longest, too_long) = ("a".repeat(64), "a".repeat(65));
        let (longest, too_long) = (longest.as_str(), too_long.as_str());
        let rows: [(&dyn Platform, &[&str], &[&str]); 4] = [
            (
                &swaig::Swaig,
                &["a", "_", "get_weather2", "A1", too_long],
                &["", "1a", "get-weather", "a b", "né", "a.b"],
            ),
            (
                &voicedock::VoiceDock,
                &["a", "_", "get-weather", "get_weather2", longest],
                &["", "1a", "-a", "a.b", "a b", "né", too_long],
            ),
            (
                &dailybots::DailyBots,
                &["a", "get-weather_2", "1a", "-a", longest],
                &["", "*", "a.b", "né", too_long],
            ),
            (&millis::Millis, &["a", "getUserInfo", "get_2"], &["", "_a", "1a", "get-weather", "né"]),
        ];
        for (platform, accepted, rejected) in rows {
            let is_accepted = |name: &str| platform.check_function_name(name).is_ok();
            for name in accepted {
                assert!(is_accepted(name), "{}: {name}", platform.name());
            }
            for name in rejected {
                assert!(!is_accepted(name), "{}: {name}", platform.name());
            }
        }
    }
}
