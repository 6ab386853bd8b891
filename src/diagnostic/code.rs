//! The codes of diagnostics. A slug never changes, because people and scripts search for it.

use super::Severity;

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $slug:literal, $severity:ident;)+) => {
        /// The kind of problem that a diagnostic is about.
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

            /// The full explanation in Markdown, with a bad and a good example.
            pub fn page(self) -> &'static str {
                match self {
                    $(Self::$variant => include_str!(concat!("pages/", $slug, ".md")),)+
                }
            }

            /// The code with this name.
            pub fn from_slug(slug: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|code| code.slug() == slug)
            }

            /// The names of all codes that a table can allow: those that are not errors.
            pub fn allowable() -> impl Iterator<Item = &'static str> + Clone {
                let weighs_less = |code: &Self| code.severity() != Severity::Error && *code != Self::MoreDiagnostics;
                Self::ALL.iter().copied().filter(weighs_less).map(Self::slug)
            }

            /// How serious it is.
            pub fn severity(self) -> Severity {
                match self {
                    $(Self::$variant => Severity::$severity,)+
                }
            }
        }
    };
}

codes! {
    /// A file of the table cannot be read.
    UnreadableFile = "unreadable-file", Error;
    /// A file is not valid TOML.
    TomlSyntax = "toml-syntax", Error;
    /// A file or a table that is too large to be checked.
    TableTooLarge = "table-too-large", Error;
    /// A name is defined more than once where it must be unique.
    DuplicateName = "duplicate-name", Error;
    /// A key that does not exist in this place.
    UnknownKey = "unknown-key", Error;
    /// A value of the wrong type.
    WrongType = "wrong-type", Error;
    /// A key that has no effect in this table, but would have one in another.
    MisplacedKey = "misplaced-key", Error;
    /// A required key is missing.
    MissingKey = "missing-key", Error;
    /// Keys that exclude each other are used together.
    ConflictingKeys = "conflicting-keys", Error;
    /// A value that is not one of the allowed values of its key.
    UnknownValue = "unknown-value", Error;
    /// A duration that is malformed or out of range.
    InvalidDuration = "invalid-duration", Error;
    /// A size that is malformed or out of range.
    InvalidSize = "invalid-size", Error;
    /// A listen address that is malformed.
    InvalidAddress = "invalid-address", Error;
    /// A name that is not allowed in this place.
    InvalidName = "invalid-name", Error;
    /// A name that is reserved by the template language.
    ReservedName = "reserved-name", Error;
    /// The table serves no platform.
    NoPlatforms = "no-platforms", Error;
    /// The table has no route.
    NoRoutes = "no-routes", Error;
    /// An include pattern that is malformed.
    IncludePattern = "include-pattern", Error;
    /// A key that is allowed in the main file only.
    MainFileOnly = "main-file-only", Error;
    /// A platform that does not exist.
    UnknownPlatform = "unknown-platform", Error;
    /// An upstream that the table does not define.
    UnknownUpstream = "unknown-upstream", Error;
    /// A route that the table does not define.
    UnknownRoute = "unknown-route", Error;
    /// An event that the platform does not send.
    UnknownEvent = "unknown-event", Error;
    /// An authentication scheme that does not exist in this place.
    UnknownAuth = "unknown-auth", Error;
    /// A platform or admin listener without a login that is reachable from outside.
    AuthMissing = "auth-missing", Error;
    /// A secret that is not set or is empty.
    SecretUnset = "secret-unset", Error;
    /// A secret file that cannot be read or is empty.
    SecretFile = "secret-file", Error;
    /// A secret in a place where secrets are not resolved.
    SecretPlace = "secret-place", Error;
    /// A malformed secret reference.
    SecretSyntax = "secret-syntax", Error;
    /// A certificate or key file that cannot be read or used.
    TlsFile = "tls-file", Error;
    /// A folder for the last accepted table that contains the table itself.
    LastGoodFolder = "last-good-folder", Error;
    /// A certificate and a key that do not belong together.
    TlsPair = "tls-pair", Error;
    /// A certificate that has expired, or is not valid yet.
    TlsExpired = "tls-expired", Warning;
    /// A certificate that expires within 30 days.
    TlsExpiring = "tls-expiring", Warning;
    /// A certificate that is not for the host of `public_url`.
    TlsName = "tls-name", Warning;
    /// A URL that is malformed or cannot be used.
    InvalidUrl = "invalid-url", Error;
    /// A path that could leave the upstream's base URL.
    InvalidPath = "invalid-path", Error;
    /// A value that is not an HTTP method.
    InvalidMethod = "invalid-method", Error;
    /// A header name that is not valid.
    InvalidHeader = "invalid-header", Error;
    /// A header that only the proxy sets, or that carries a login.
    ForbiddenHeader = "forbidden-header", Error;
    /// A template that cannot be parsed.
    TemplateSyntax = "template-syntax", Error;
    /// A template that asks for unescaped output.
    TemplateUnescaped = "template-unescaped", Error;
    /// A template that uses an unsupported feature of Handlebars.
    TemplateUnsupported = "template-unsupported", Error;
    /// A template that is too long or too deeply nested.
    TemplateTooLarge = "template-too-large", Error;
    /// A template in a place where templates are not rendered.
    TemplatePlace = "template-place", Error;
    /// A name in a template that cannot exist.
    UnknownName = "unknown-name", Error;
    /// A helper that does not exist.
    UnknownHelper = "unknown-helper", Error;
    /// A helper that is called with the wrong arguments.
    HelperArguments = "helper-arguments", Error;
    /// A partial that does not exist, or that includes itself.
    UnknownPartial = "unknown-partial", Error;
    /// A template file that does not exist or cannot be read.
    UnknownTemplateFile = "unknown-template-file", Error;
    /// A template file that can never render valid JSON.
    TemplateJson = "template-json", Error;
    /// A template file that can never render well-formed XML.
    TemplateXml = "template-xml", Error;
    /// A JSONPath that cannot be parsed.
    JsonpathSyntax = "jsonpath-syntax", Error;
    /// A JSONPath that cannot be evaluated exactly or within bounded time.
    JsonpathUnsupported = "jsonpath-unsupported", Error;
    /// A regular expression that cannot be compiled.
    InvalidPattern = "invalid-pattern", Error;
    /// A JSON Schema that cannot be used.
    InvalidSchema = "invalid-schema", Error;
    /// A constraint that does not match the argument's type.
    ArgumentConstraint = "argument-constraint", Error;
    /// A list of allowed values that the model or an API could have written.
    UntrustedAllowed = "untrusted-allowed", Error;
    /// A default or enum value that the argument's own constraints reject.
    ArgumentDefault = "argument-default", Error;
    /// A request that lacks something it needs to be sent.
    RequestIncomplete = "request-incomplete", Error;
    /// A part of a route that only makes sense with a request.
    NeedsRequest = "needs-request", Error;
    /// A reply of an `async` route that needs a response, although it is sent before any request.
    AsyncReply = "async-reply", Error;
    /// Something `sensitive` that would be stored without encryption.
    EncryptionKeyMissing = "encryption-key-missing", Error;
    /// A key of `[state]` that cannot encrypt.
    InvalidKey = "invalid-key", Error;
    /// A streaming part in a route that does not stream.
    NeedsStreaming = "needs-streaming", Error;
    /// An argument type that one of the route's platforms does not support.
    ParameterType = "parameter-type", Error;
    /// A status condition that no status can match.
    InvalidStatus = "invalid-status", Error;
    /// A kind of failure that does not exist.
    UnknownFailure = "unknown-failure", Error;
    /// A reply case that can never be reached.
    UnreachableCase = "unreachable-case", Error;
    /// An action that the platform does not define.
    UnknownAction = "unknown-action", Error;
    /// An action that the platform's published schema does not list, and that may be newer than it.
    UnlistedAction = "unlisted-action", Warning;
    /// An action whose value the platform would reject.
    InvalidAction = "invalid-action", Error;
    /// An action that the platform's SDK defines, but its published schema does not.
    SdkOnlyAction = "sdk-only-action", Note;
    /// A route or an event for a platform that is not served.
    UnservedPlatform = "unserved-platform", Warning;
    /// There are more diagnostics than are shown.
    MoreDiagnostics = "more-diagnostics", Note;
    /// A service that is not one of the platform's own, so the platform may ignore the setting.
    UnknownService = "unknown-service", Warning;
    /// A text that is never used.
    UnusedText = "unused-text", Warning;
    /// A key that has no effect in this place.
    NoEffect = "no-effect", Warning;
    /// A list of allowed values from a platform that does not authenticate.
    AllowedNotBelieved = "allowed-not-believed", Warning;
    /// A hidden file that an include pattern leaves out.
    HiddenFile = "hidden-file", Warning;
    /// An include pattern that matches no file.
    EmptyInclude = "empty-include", Warning;
    /// A route that no test calls.
    RouteUntested = "route-untested", Warning;
    /// A route without a description, which the model needs to choose the function.
    DescriptionMissing = "description-missing", Warning;
    /// An argument without a description for the model.
    ArgumentUndescribed = "argument-undescribed", Note;
    /// A name in single braces, which is text and not an expression.
    SingleBraces = "single-braces", Warning;
    /// A credential that is written into the table.
    SecretInTable = "secret-in-table", Warning;
    /// An argument that its route never uses.
    ArgumentUnused = "argument-unused", Warning;
    /// An extracted value that is never used.
    ExtractUnused = "extract-unused", Warning;
    /// A non-idempotent request that could be sent twice if the platform retries the call.
    WriteUnguarded = "write-unguarded", Warning;
    /// A write whose response is never looked at.
    WriteUnchecked = "write-unchecked", Note;
    /// A platform that anyone who can reach its listener can call.
    PlatformOpen = "platform-open", Warning;
    /// A time that is longer than the platform waits.
    DeadlineTooLong = "deadline-too-long", Warning;
    /// A listener whose public URL is unknown, so it cannot be declared to platforms.
    PublicUrlMissing = "public-url-missing", Warning;
    /// A credential that is sent without TLS.
    CredentialInClear = "credential-in-clear", Warning;
    /// An upstream that does not respond; found by `check --online`.
    UpstreamUnreachable = "upstream-unreachable", Error;
    /// A credential that its upstream rejects; found by `check --online`.
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
