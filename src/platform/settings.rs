//! The settings of `[platforms.<name>]` that only one platform has.

use crate::secret::Secret;

use super::Platform;

/// A key of `[platforms.<name>]` that only one platform has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// The key.
    pub key: &'static str,
    /// What it controls, for the author of the table.
    pub about: &'static str,
    /// The accepted values; the first is the default. If there are none, the setting is a secret.
    pub values: &'static [&'static str],
}

/// The values of a platform's [`Setting`]s. A setting with accepted values always has one; a secret may be unset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    words: Vec<(&'static str, &'static str)>,
    secrets: Vec<(&'static str, Vec<Secret>)>,
}

impl Settings {
    /// The default settings of a platform.
    pub fn defaults(platform: &dyn Platform) -> Self {
        let word = |setting: &Setting| setting.values.first().map(|word| (setting.key, *word));
        Self { words: platform.settings().iter().filter_map(word).collect(), secrets: Vec::new() }
    }

    /// Sets a key to one of its accepted values. Other values are ignored.
    pub fn set(&mut self, setting: &Setting, value: &str) {
        if let Some(value) = setting.values.iter().find(|known| **known == value)
            && let Some(entry) = self.words.iter_mut().find(|(key, _)| *key == setting.key)
        {
            entry.1 = value;
        }
    }

    /// Sets a key to a secret, or to two secrets during a rotation.
    pub fn set_secret(&mut self, setting: &Setting, secrets: Vec<Secret>) {
        self.secrets.push((setting.key, secrets));
    }

    /// The value of a key; empty if the platform does not have the key.
    pub fn get(&self, key: &str) -> &'static str {
        self.words.iter().find(|(known, _)| *known == key).map_or("", |(_, value)| value)
    }

    /// The secrets of a key; empty if the table sets none.
    pub fn secrets(&self, key: &str) -> &[Secret] {
        self.secrets.iter().find(|(known, _)| *known == key).map_or(&[], |(_, secrets)| secrets)
    }
}
