//! The shape of each table of `routes.toml`: its keys and their forms. The JSON Schema is made from it.

use super::document::{Kind, Located};
use super::reader::{Named, WithJson};

/// The shape of a table.
#[derive(Debug)]
pub(crate) struct Shape {
    /// The name of its struct.
    pub(crate) name: &'static str,
    /// The lines of its documentation.
    pub(crate) doc: &'static [&'static str],
    /// Its keys.
    pub(crate) keys: &'static [KeyShape],
    /// The other keys, which depend on the platforms.
    pub(crate) rest: Option<Rest>,
}

/// A key of a table.
#[derive(Debug)]
pub(crate) struct KeyShape {
    /// The key.
    pub(crate) name: &'static str,
    /// The lines of its documentation.
    pub(crate) doc: &'static [&'static str],
    /// How its value is written.
    pub(crate) form: fn() -> KeyForm,
}

/// The keys that only a platform can judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// The settings of one platform.
    Settings,
    /// A table for each platform, with its keys of a route.
    RouteSeries,
    /// A table for each platform, with its keys of a reply case.
    OfReply,
}

/// How a value is written. Forms that are more than a type belong to one key; the compiler knows their words.
#[derive(Debug, Clone, Copy)]
pub(crate) enum KeyForm {
    /// Any value.
    Any,
    /// A string.
    Text,
    /// True or false.
    Flag,
    /// A whole number, 0 or more.
    Count,
    /// Any number.
    Number,
    /// A list.
    List(fn() -> Self),
    /// A table whose keys are names that the user chose.
    Named(fn() -> Self),
    /// A table with keys of its own.
    Table(&'static Shape),
    /// One of several forms.
    Either(&'static [fn() -> Self]),
    /// A time such as `"3s"`.
    Duration,
    /// A time, or `"p95"`.
    Hedge,
    /// A number of bytes such as `"1MiB"`.
    Size,
    /// A number in a time, such as `"10/s"`.
    Rate,
    /// A share, above 0 and at most 1.
    Share,
    /// A share that may be nothing: from 0 to 1.
    Fraction,
    /// How changed files are noticed.
    Watch,
    /// How the lines of the log are written.
    LogFormat,
    /// Which redirects are followed.
    Redirects,
    /// Where an upstream may be.
    Network,
    /// The codes of warnings.
    Warnings,
    /// The type of an argument.
    ArgumentType,
    /// A named form of an argument.
    ArgumentFormat,
    /// A request's method.
    Method,
    /// How a reply's body is read.
    ResponseFormat,
    /// A status, a class of them, or a list.
    Statuses,
    /// A kind of failure, a list of kinds, or any.
    Failures,
    /// The kinds of failure and the statuses that are retried.
    Retried,
    /// A text for each kind of failure.
    FailureTexts,
    /// Names with a value, or several, each.
    Equals,
    /// Names with a regular expression each.
    Matches,
    /// The parameters of a query or form.
    Parameters,
    /// An inbound scheme.
    InboundAuth,
    /// An inbound scheme of the admin listener.
    AdminAuth,
    /// An outbound scheme.
    OutboundAuth,
    /// The platforms, by name.
    Platforms,
    /// The names of platforms.
    PlatformNames,
    /// The extra keys of declarations, by platform.
    Declare,
    /// The events, by platform and name.
    Events,
}

/// A type that knows how its values are written.
pub(crate) trait Described {
    /// How a value of this type is written.
    fn form() -> KeyForm;
}

impl Described for Kind {
    fn form() -> KeyForm {
        KeyForm::Any
    }
}

impl Described for String {
    fn form() -> KeyForm {
        KeyForm::Text
    }
}

impl Described for bool {
    fn form() -> KeyForm {
        KeyForm::Flag
    }
}

impl Described for u64 {
    fn form() -> KeyForm {
        KeyForm::Count
    }
}

impl<T: Described> Described for Vec<Located<T>> {
    fn form() -> KeyForm {
        KeyForm::List(T::form)
    }
}

impl<T: Described> Described for Named<T> {
    fn form() -> KeyForm {
        KeyForm::Named(T::form)
    }
}

impl<T: Described> Described for WithJson<T> {
    fn form() -> KeyForm {
        T::form()
    }
}

impl<T: Described> Described for Box<T> {
    fn form() -> KeyForm {
        T::form()
    }
}
