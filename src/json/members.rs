//! The members of an object, each still as text.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// The members of a JSON object, in their order. Each of them may nest as deep as a whole document: reading the object as
/// one tree would leave them fewer levels.
#[derive(Debug)]
pub struct Members<'t>(Vec<(String, &'t RawValue)>);

impl<'t> Members<'t> {
    /// Reads an object; `None` if the text is something else.
    pub fn read(text: &'t [u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    /// The names of the members and their JSON texts.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &'t str)> {
        self.0.iter().map(|(name, text)| (&**name, text.get()))
    }

    /// The JSON text of a member.
    pub fn text(&self, name: &str) -> Option<&'t str> {
        self.texts().find_map(|(known, text)| (known == name).then_some(text))
    }

    /// A member as a tree; `None` also if it nests deeper than a document may.
    pub fn value(&self, name: &str) -> Option<Value> {
        serde_json::from_str(self.text(name)?).ok()
    }

    /// All members as a tree; `None` also if one nests deeper than a document may.
    pub fn tree(&self) -> Option<Map<String, Value>> {
        self.texts().map(|(name, text)| Some((name.to_owned(), serde_json::from_str(text).ok()?))).collect()
    }

    /// The members of a member that is an object.
    pub fn members(&self, name: &str) -> Option<Self> {
        Self::read(self.text(name)?.as_bytes())
    }
}

impl<'t> Deserialize<'t> for Members<'t> {
    fn deserialize<D: Deserializer<'t>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'t> Visitor<'t> for Object {
            type Value = Members<'t>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<A: MapAccess<'t>>(self, mut object: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = object.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object)
    }
}
