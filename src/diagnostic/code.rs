//! The codes of diagnostics. A slug is a promise: scripts and people search for it, so it never changes.

use super::Severity;

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $slug:literal, $severity:ident;)+) => {
        /// What kind of fault a diagnostic is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Code {
            /// Every code, in the order of this list.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name shown in brackets, kebab-case.
            pub fn slug(self) -> &'static str {
                match self {
                    $(Self::$variant => $slug,)+
                }
            }

            /// What it means, in one sentence.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($doc),+).trim_ascii(),)+
                }
            }

            /// What it means at length, with a bad and a good example: Markdown.
            pub fn page(self) -> &'static str {
                match self {
                    $(Self::$variant => include_str!(concat!("pages/", $slug, ".md")),)+
                }
            }

            /// The code of that name.
            pub fn from_slug(slug: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|code| code.slug() == slug)
            }

            /// The names of all that a table can allow: what does not keep it from being taken.
            pub fn allowable() -> impl Iterator<Item = &'static str> + Clone {
                let weighs_less = |code: &Self| code.severity() != Severity::Error;
                Self::ALL.iter().copied().filter(weighs_less).map(Self::slug)
            }

            /// How much it weighs.
            pub fn severity(self) -> Severity {
                match self {
                    $(Self::$variant => Severity::$severity,)+
                }
            }
        }
    };
}

codes! {
    /// A file that the table needs cannot be read.
    UnreadableFile = "unreadable-file", Error;
    /// The file is not valid TOML.
    TomlSyntax = "toml-syntax", Error;
    /// A name is given twice where it must be unique.
    DuplicateName = "duplicate-name", Error;
    /// A key that does not exist here.
    UnknownKey = "unknown-key", Error;
    /// A value of the wrong type.
    WrongType = "wrong-type", Error;
    /// A key that must be there is missing.
    MissingKey = "missing-key", Error;
    /// Keys that exclude each other stand side by side.
    ConflictingKeys = "conflicting-keys", Error;
    /// A key of the design that this version does not have yet.
    NotYet = "not-yet", Error;
    /// A key whose value is none of those allowed.
    UnknownValue = "unknown-value", Error;
    /// A duration that cannot be read or is out of range.
    InvalidDuration = "invalid-duration", Error;
    /// A size that cannot be read or is out of range.
    InvalidSize = "invalid-size", Error;
    /// An address to listen on that cannot be read.
    InvalidAddress = "invalid-address", Error;
    /// A name that may not be used here.
    InvalidName = "invalid-name", Error;
    /// A name that the language keeps for itself.
    ReservedName = "reserved-name", Error;
    /// The table serves no platform.
    NoPlatforms = "no-platforms", Error;
    /// The table has no route.
    NoRoutes = "no-routes", Error;
    /// An include pattern that cannot be used.
    IncludePattern = "include-pattern", Error;
    /// A key that only the main file may have.
    MainFileOnly = "main-file-only", Error;
    /// A platform that does not exist.
    UnknownPlatform = "unknown-platform", Error;
    /// An upstream that the table does not have.
    UnknownUpstream = "unknown-upstream", Error;
    /// A route that the table does not have.
    UnknownRoute = "unknown-route", Error;
    /// An event that the platform does not send.
    UnknownEvent = "unknown-event", Error;
    /// An authentication scheme that does not exist here.
    UnknownAuth = "unknown-auth", Error;
    /// A platform or admin door that anyone could call from outside.
    AuthMissing = "auth-missing", Error;
    /// A secret that is not set or is empty.
    SecretUnset = "secret-unset", Error;
    /// A secret's file that cannot be read or is empty.
    SecretFile = "secret-file", Error;
    /// A secret written where secrets are not resolved.
    SecretPlace = "secret-place", Error;
    /// A secret that is not spelled as one.
    SecretSyntax = "secret-syntax", Error;
    /// The file of a certificate or key that cannot be read or used.
    TlsFile = "tls-file", Error;
    /// A certificate and a key that do not belong together.
    TlsPair = "tls-pair", Error;
    /// A web address that cannot be used.
    InvalidUrl = "invalid-url", Error;
    /// A path that could leave the upstream's base URL.
    InvalidPath = "invalid-path", Error;
    /// A request method that is not one.
    InvalidMethod = "invalid-method", Error;
    /// A header name that is not one.
    InvalidHeader = "invalid-header", Error;
    /// A header that is set by the proxy itself, or that carries a login.
    ForbiddenHeader = "forbidden-header", Error;
    /// A template that cannot be parsed.
    TemplateSyntax = "template-syntax", Error;
    /// A template that asks for unescaped output.
    TemplateUnescaped = "template-unescaped", Error;
    /// A template that uses a part of Handlebars that Jackfield does not have.
    TemplateUnsupported = "template-unsupported", Error;
    /// A template that is too long or too deeply nested.
    TemplateTooLarge = "template-too-large", Error;
    /// A template where none is rendered.
    TemplatePlace = "template-place", Error;
    /// A name in a template that cannot exist.
    UnknownName = "unknown-name", Error;
    /// A helper that does not exist.
    UnknownHelper = "unknown-helper", Error;
    /// A helper called with arguments that it does not take.
    HelperArguments = "helper-arguments", Error;
    /// A partial that does not exist, or that includes itself.
    UnknownPartial = "unknown-partial", Error;
    /// A template file that does not exist.
    UnknownTemplateFile = "unknown-template-file", Error;
    /// A template file whose result could never be valid JSON.
    TemplateJson = "template-json", Error;
    /// A template file whose result could never be well-formed XML.
    TemplateXml = "template-xml", Error;
    /// A JSONPath that cannot be parsed.
    JsonpathSyntax = "jsonpath-syntax", Error;
    /// A JSONPath that would be answered wrongly.
    JsonpathUnsupported = "jsonpath-unsupported", Error;
    /// A regular expression that cannot be compiled.
    InvalidPattern = "invalid-pattern", Error;
    /// A JSON Schema that cannot be used.
    InvalidSchema = "invalid-schema", Error;
    /// A constraint that does not fit the argument's type.
    ArgumentConstraint = "argument-constraint", Error;
    /// A list of allowed values that the model or an API could have written.
    UntrustedAllowed = "untrusted-allowed", Error;
    /// A default or an enumerated value that the argument itself would refuse.
    ArgumentDefault = "argument-default", Error;
    /// A request without all that is needed to send one.
    RequestIncomplete = "request-incomplete", Error;
    /// A part of a route that only makes sense with a request.
    NeedsRequest = "needs-request", Error;
    /// A part of a route that leaves in a stream, where the answer is none.
    NeedsStreaming = "needs-streaming", Error;
    /// A type of argument that a platform which may call the function does not take.
    ParameterType = "parameter-type", Error;
    /// A status condition that no status can meet.
    InvalidStatus = "invalid-status", Error;
    /// A kind of failure that does not exist.
    UnknownFailure = "unknown-failure", Error;
    /// A reply case that can never be reached.
    UnreachableCase = "unreachable-case", Error;
    /// An action that the platform does not know.
    UnknownAction = "unknown-action", Error;
    /// An action whose value the platform would refuse.
    InvalidAction = "invalid-action", Error;
    /// An action known from the platform's SDK but not from its published schema.
    SdkOnlyAction = "sdk-only-action", Note;
    /// A route or an event for a platform that is not served.
    UnservedPlatform = "unserved-platform", Warning;
    /// A service that the platform does not have by itself, so that it may ignore what it is told about it.
    UnknownService = "unknown-service", Warning;
    /// A text that is never said.
    UnusedText = "unused-text", Warning;
    /// A key that changes nothing where it stands.
    NoEffect = "no-effect", Warning;
    /// A list of allowed values that a platform supplies without proving who it is.
    AllowedNotBelieved = "allowed-not-believed", Warning;
    /// An include pattern that matches no file.
    EmptyInclude = "empty-include", Warning;
    /// A route that no test calls.
    RouteUntested = "route-untested", Warning;
    /// An argument that nothing in its route uses.
    ArgumentUnused = "argument-unused", Warning;
    /// An extract that nothing uses.
    ExtractUnused = "extract-unused", Warning;
    /// A request that would be sent again when a platform repeats its call.
    WriteUnguarded = "write-unguarded", Warning;
    /// A platform that anyone who reaches its door can call for.
    PlatformOpen = "platform-open", Warning;
    /// A time that is longer than a platform waits.
    DeadlineTooLong = "deadline-too-long", Warning;
    /// A door whose address platforms cannot be told.
    PublicUrlMissing = "public-url-missing", Warning;
    /// A credential that is sent without TLS.
    CredentialInClear = "credential-in-clear", Warning;
    /// An upstream that gives no answer; found by `check --online`.
    UpstreamUnreachable = "upstream-unreachable", Error;
    /// A credential that its upstream does not take; found by `check --online`.
    CredentialRefused = "credential-refused", Error;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_kebab_case_and_unique() {
        let mut seen = std::collections::HashSet::new();
        for code in Code::ALL {
            assert!(seen.insert(code.slug()), "{} twice", code.slug());
            assert!(code.slug().chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{}", code.slug());
            assert!(code.meaning().ends_with('.'), "{}", code.slug());
        }
    }
}
