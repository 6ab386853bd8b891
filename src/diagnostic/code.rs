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
    /// A file that cannot be read.
    UnreadableFile = "unreadable-file", Error;
    /// The file is not valid TOML.
    TomlSyntax = "toml-syntax", Error;
    /// A name that is defined twice but must be unique.
    DuplicateName = "duplicate-name", Error;
    /// An unknown key.
    UnknownKey = "unknown-key", Error;
    /// A value of the wrong type.
    WrongType = "wrong-type", Error;
    /// A required key that is missing.
    MissingKey = "missing-key", Error;
    /// Two keys that exclude each other.
    ConflictingKeys = "conflicting-keys", Error;
    /// A planned key that this version does not support yet.
    NotYet = "not-yet", Error;
    /// A value that the key does not accept.
    UnknownValue = "unknown-value", Error;
    /// A duration that is malformed or out of range.
    InvalidDuration = "invalid-duration", Error;
    /// A size that is malformed or out of range.
    InvalidSize = "invalid-size", Error;
    /// An invalid address to listen on.
    InvalidAddress = "invalid-address", Error;
    /// A name that is not allowed here.
    InvalidName = "invalid-name", Error;
    /// A reserved name.
    ReservedName = "reserved-name", Error;
    /// A table without platforms.
    NoPlatforms = "no-platforms", Error;
    /// A table without routes.
    NoRoutes = "no-routes", Error;
    /// An invalid include pattern.
    IncludePattern = "include-pattern", Error;
    /// A key that is only allowed in the main file.
    MainFileOnly = "main-file-only", Error;
    /// An unknown platform.
    UnknownPlatform = "unknown-platform", Error;
    /// An unknown upstream.
    UnknownUpstream = "unknown-upstream", Error;
    /// An unknown route.
    UnknownRoute = "unknown-route", Error;
    /// An event that the platform does not send.
    UnknownEvent = "unknown-event", Error;
    /// An unknown authentication scheme.
    UnknownAuth = "unknown-auth", Error;
    /// A platform or admin listener that accepts anyone from outside.
    AuthMissing = "auth-missing", Error;
    /// A secret that is unset or empty.
    SecretUnset = "secret-unset", Error;
    /// A secret file that is unreadable or empty.
    SecretFile = "secret-file", Error;
    /// A secret where secrets are not resolved.
    SecretPlace = "secret-place", Error;
    /// A malformed secret reference.
    SecretSyntax = "secret-syntax", Error;
    /// A certificate or key file that is unreadable or invalid.
    TlsFile = "tls-file", Error;
    /// A certificate and a key that do not match.
    TlsPair = "tls-pair", Error;
    /// An invalid URL.
    InvalidUrl = "invalid-url", Error;
    /// A path that could leave the upstream's base URL.
    InvalidPath = "invalid-path", Error;
    /// An invalid request method.
    InvalidMethod = "invalid-method", Error;
    /// An invalid header name.
    InvalidHeader = "invalid-header", Error;
    /// A header that Jackfield sets itself, or that carries a login.
    ForbiddenHeader = "forbidden-header", Error;
    /// A template with a syntax error.
    TemplateSyntax = "template-syntax", Error;
    /// A template that asks for unescaped output.
    TemplateUnescaped = "template-unescaped", Error;
    /// A template that uses an unsupported part of Handlebars.
    TemplateUnsupported = "template-unsupported", Error;
    /// A template that is too long or too deeply nested.
    TemplateTooLarge = "template-too-large", Error;
    /// A template where templates are not rendered.
    TemplatePlace = "template-place", Error;
    /// A template name that does not exist.
    UnknownName = "unknown-name", Error;
    /// An unknown template helper.
    UnknownHelper = "unknown-helper", Error;
    /// A helper with invalid arguments.
    HelperArguments = "helper-arguments", Error;
    /// An unknown or recursive partial.
    UnknownPartial = "unknown-partial", Error;
    /// An unknown template file.
    UnknownTemplateFile = "unknown-template-file", Error;
    /// A template file that cannot produce valid JSON.
    TemplateJson = "template-json", Error;
    /// A template file that cannot produce well-formed XML.
    TemplateXml = "template-xml", Error;
    /// A JSONPath with a syntax error.
    JsonpathSyntax = "jsonpath-syntax", Error;
    /// A JSONPath that Jackfield does not support.
    JsonpathUnsupported = "jsonpath-unsupported", Error;
    /// An invalid regular expression.
    InvalidPattern = "invalid-pattern", Error;
    /// An invalid JSON Schema.
    InvalidSchema = "invalid-schema", Error;
    /// A constraint that does not apply to the argument's type.
    ArgumentConstraint = "argument-constraint", Error;
    /// A list of allowed values that the model or an API could have written.
    UntrustedAllowed = "untrusted-allowed", Error;
    /// A default or `enum` value that the argument's own rules reject.
    ArgumentDefault = "argument-default", Error;
    /// A request without an upstream, or an upstream without a request.
    RequestIncomplete = "request-incomplete", Error;
    /// A part of a route that needs a request.
    NeedsRequest = "needs-request", Error;
    /// A part of a route that needs a streamed reply.
    NeedsStreaming = "needs-streaming", Error;
    /// An argument type that a platform of the route does not support.
    ParameterType = "parameter-type", Error;
    /// A status condition that no response can meet.
    InvalidStatus = "invalid-status", Error;
    /// An unknown kind of failure.
    UnknownFailure = "unknown-failure", Error;
    /// A reply case that can never be selected.
    UnreachableCase = "unreachable-case", Error;
    /// An action that the platform does not support.
    UnknownAction = "unknown-action", Error;
    /// An action with a value that the platform would reject.
    InvalidAction = "invalid-action", Error;
    /// An action that is in the platform's SDK but not in its published schema.
    SdkOnlyAction = "sdk-only-action", Note;
    /// A route or event for a platform that is not served.
    UnservedPlatform = "unserved-platform", Warning;
    /// A service that the platform does not have by default.
    UnknownService = "unknown-service", Warning;
    /// A text that is never used.
    UnusedText = "unused-text", Warning;
    /// A key that has no effect here.
    NoEffect = "no-effect", Warning;
    /// A list of allowed values from a platform that does not authenticate.
    AllowedNotBelieved = "allowed-not-believed", Warning;
    /// An include pattern that matches no file.
    EmptyInclude = "empty-include", Warning;
    /// A route without a test.
    RouteUntested = "route-untested", Warning;
    /// An argument that nothing in its route uses.
    ArgumentUnused = "argument-unused", Warning;
    /// An extract that nothing uses.
    ExtractUnused = "extract-unused", Warning;
    /// A non-idempotent request that could be sent twice if the platform retries the call.
    WriteUnguarded = "write-unguarded", Warning;
    /// A platform that accepts calls from anyone.
    PlatformOpen = "platform-open", Warning;
    /// A deadline or timeout that is longer than the platform waits.
    DeadlineTooLong = "deadline-too-long", Warning;
    /// A listener without an address that platforms can be told.
    PublicUrlMissing = "public-url-missing", Warning;
    /// A credential that is sent without TLS.
    CredentialInClear = "credential-in-clear", Warning;
    /// An upstream that does not respond; found by `check --online`.
    UpstreamUnreachable = "upstream-unreachable", Error;
    /// A credential that the upstream rejects; found by `check --online`.
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
