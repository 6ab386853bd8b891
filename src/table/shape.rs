//! The shape of each table of `routes.toml`: its keys and their forms. The JSON Schema is built from it.

use super::document::{Kind, Located};
use super::reader::{Named, WithJson};

/// The shape of a table.
#[derive(Debug)]
pub(crate) struct Shape {
    /// The name of its struct.
    pub(crate) name: &'static str,
    /// The lines of its doc comment.
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
    /// The lines of its doc comment.
    pub(crate) doc: &'static [&'static str],
    /// How its value is written.
    pub(crate) form: fn() -> KeyForm,
}

/// The kinds of keys that only a platform can check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// The settings of one platform.
    Settings,
    /// A table for each platform, with its route keys.
    RouteKeys,
    /// A table for each platform, with its extension keys of a reply case.
    ReplyKeys,
}

/// The form of a value. A form that is more than a type belongs to one key, and the compiler has its allowed values.
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
    /// A table whose keys are chosen by the author.
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
    /// A number per time, such as `"10/s"`.
    Rate,
    /// A fraction above 0 and at most 1.
    Share,
    /// A fraction from 0 to 1.
    Fraction,
    /// How changed files are detected.
    Watch,
    /// The format of log lines.
    LogFormat,
    /// A level of the log.
    LogLevel,
    /// Which redirects are followed.
    Redirects,
    /// The addresses that an upstream may have.
    Network,
    /// The codes of warnings.
    Warnings,
    /// The type of an argument.
    ArgumentType,
    /// A named format of an argument.
    ArgumentFormat,
    /// The method of a request.
    Method,
    /// The format of a response body.
    ResponseFormat,
    /// A status, a class of them, or a list.
    Statuses,
    /// A kind of failure, a list of kinds, or any.
    Failures,
    /// A kind of failure.
    Failure,
    /// The kinds of failure and the statuses that are retried.
    Retried,
    /// The texts for kinds of failure.
    FailureTexts,
    /// Names, each with a value or a list of values.
    Equals,
    /// Names, each with a regular expression.
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
    /// Whether a delivery waits for the platform.
    DeliveryMode,
    /// The level of the log line of a dead delivery.
    OnDead,
}

/// A type with a known form of its values.
pub(crate) trait Described {
    /// The form of a value of this type.
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
