//! The time zone of the table, in which times are that say none.

use jiff::tz::TimeZone;

use crate::lang::template::{Scope, Template};

/// The zone of times without an offset.
#[derive(Debug)]
pub enum Zone {
    /// The same for every call.
    Fixed(TimeZone),
    /// One expression, which each call has its own value for.
    PerCall(Template),
}

impl Default for Zone {
    fn default() -> Self {
        Self::Fixed(TimeZone::UTC)
    }
}

impl Zone {
    /// The zone during a call; `None` if the call names none that exists.
    pub(crate) fn of(&self, scope: &Scope<'_>) -> Option<TimeZone> {
        match self {
            Self::Fixed(zone) => Some(zone.clone()),
            Self::PerCall(template) => TimeZone::get(&template.required(scope).ok()?.get().to_text()).ok(),
        }
    }
}
