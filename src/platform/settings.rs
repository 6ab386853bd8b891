//! The keys of `[platforms.<name>]` that only one platform has, and their values.

use crate::secret::Secret;

use super::Platform;

/// A key of `[platforms.<name>]` that only one platform has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// The key.
    pub key: &'static str,
    /// What it decides, for whoever writes the table.
    pub about: &'static str,
    /// The words that it may be, the first of them the default; none: it holds a secret.
    pub values: &'static [&'static str],
}

/// The values of a platform's [`Setting`]s: every word is set, a secret only where the table gives it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    words: Vec<(&'static str, &'static str)>,
    secrets: Vec<(&'static str, Vec<Secret>)>,
}

impl Settings {
    /// The defaults of a platform.
    pub fn defaults(platform: &dyn Platform) -> Self {
        let word = |setting: &Setting| setting.values.first().map(|word| (setting.key, *word));
        Self { words: platform.settings().iter().filter_map(word).collect(), secrets: Vec::new() }
    }

    /// Sets a key to one of its words; other words change nothing.
    pub fn set(&mut self, setting: &Setting, value: &str) {
        if let Some(value) = setting.values.iter().find(|known| **known == value)
            && let Some(entry) = self.words.iter_mut().find(|(key, _)| *key == setting.key)
        {
            entry.1 = value;
        }
    }

    /// Sets a key to a secret, or to two while it is rotated.
    pub fn set_secret(&mut self, setting: &Setting, secrets: Vec<Secret>) {
        self.secrets.push((setting.key, secrets));
    }

    /// The word of a key; empty for a key that the platform does not have.
    pub fn get(&self, key: &str) -> &'static str {
        self.words.iter().find(|(known, _)| *known == key).map_or("", |(_, value)| value)
    }

    /// The secrets of a key; none where the table gives none.
    pub fn secrets(&self, key: &str) -> &[Secret] {
        self.secrets.iter().find(|(known, _)| *known == key).map_or(&[], |(_, secrets)| secrets)
    }
}
