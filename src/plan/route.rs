//! A route: how calls of one function are answered.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::HeaderName;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::call::ReplyExtension;
use crate::guard::ExpansionFilter;
use crate::platform::ToolSpec;
use crate::secret::Secret;
use crate::upstream::Response;
use crate::upstream::delivery::limit::LimitPolicy;

use super::FailureTexts;
use super::allowed::Allowed;
use super::arguments::Arguments;
use super::extraction::{Extraction, Values};
use super::replies::{Extension, Replies};
use super::request::RequestTemplate;
use super::state::{Remember, RouteState};
use super::when::{KnownValues, UnmetCondition, When};
use crate::lang::body::BodyUse;
use crate::lang::template::{ParsedResponse, RenderError, Scope, StepOutput};

/// A route, compiled.
#[derive(Debug)]
pub struct Route {
    /// The function's name.
    pub name: String,
    /// The description of the function, for the model.
    pub description: Option<String>,
    /// The platforms that may call it; `None` for all platforms that are served.
    pub platforms: Option<Vec<&'static str>>,
    /// Its arguments.
    pub arguments: Arguments,
    /// The arguments whose values the platform restricts.
    pub allowed: Allowed,
    /// The requests to upstreams, in order; empty if the route replies without one. A route with a `request` has one
    /// step without a name.
    pub steps: Vec<Step>,
    /// The reply cases.
    pub replies: Replies,
    /// The texts for failures that no reply case handles.
    pub failure_texts: FailureTexts,
    /// The route's own timeout. The platform's deadline applies if it is earlier.
    pub timeout: Option<Duration>,
    /// The limit of calls; `None` for no limit.
    pub limit: Option<RouteLimit>,
    /// The header with the idempotency key of requests that are not safe.
    pub idempotency_key: Option<HeaderName>,
    /// How long an identical call in the same conversation counts as a retry, even if its call id differs.
    pub repeat_window: Option<Duration>,
    /// How long responses to safe requests are cached.
    pub cache: Option<CachePolicy>,
    /// Whether the answer is a stream, on platforms that support it.
    pub streaming: bool,
    /// The schema of the form's field, if the route is a form. The function itself takes no arguments then.
    pub form: Option<Value>,
    /// The extension values that the platform gets as soon as the arguments are validated.
    pub(crate) extensions: Vec<Extension>,
    /// What it keeps beyond one call.
    pub state: RouteState,
    /// Additions to the tool definition, by platform.
    pub declare: Vec<Declared>,
    /// A hash of everything that decides how the route behaves.
    pub fingerprint: [u8; 32],
}

/// The limit of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteLimit {
    /// The policy.
    pub policy: LimitPolicy,
    /// The index of its limiter among the resources of the plan.
    pub slot: usize,
}

impl Route {
    /// A route without requests and replies; the other fields have their defaults.
    pub(crate) fn new(name: String, arguments: Arguments, fingerprint: [u8; 32]) -> Self {
        Self {
            name,
            description: None,
            platforms: None,
            arguments,
            allowed: Allowed::default(),
            steps: Vec::new(),
            replies: Replies { cases: Vec::new() },
            failure_texts: FailureTexts::default(),
            timeout: None,
            limit: None,
            idempotency_key: None,
            repeat_window: None,
            cache: None,
            streaming: false,
            form: None,
            extensions: Vec::new(),
            state: RouteState::default(),
            declare: Vec::new(),
            fingerprint,
        }
    }
}

/// How long a response is cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CachePolicy {
    /// How long it is fresh.
    pub fresh: Duration,
    /// How much longer it may be used stale, if the upstream fails.
    pub stale: Duration,
}

/// Why a response cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ResponseError {
    /// A status outside 200-299 that no reply case names.
    #[error("the upstream answered with status {0}, which no reply case names")]
    Status(u16),
    /// The upstream rejected the credential of the table, and no reply case names the status.
    #[error("the upstream rejected the credential with status {status}; check {check}")]
    Credential {
        /// The status: 401 or 403.
        status: u16,
        /// Where the table sets the credential.
        check: Arc<str>,
    },
    /// The body cannot be read.
    #[error("the upstream answered with status {status}, but {problem}")]
    Body {
        /// The status.
        status: u16,
        /// What is wrong with the body.
        problem: String,
    },
    /// A required value is missing.
    #[error("the required value `{0}` is missing in the upstream's response")]
    Missing(String),
}

/// One request of a route, and the values to extract from its response.
#[derive(Debug)]
pub struct Step {
    /// Its name; `None` for the only request of a route.
    pub name: Option<String>,
    /// Its group. Adjacent steps of the same group run concurrently.
    pub group: Option<String>,
    /// The index of the step that this one is a fallback for.
    pub(crate) after_failure_of: Option<usize>,
    /// Whether a later step is a fallback for this one.
    pub(crate) has_fallback: bool,
    /// The conditions under which it runs.
    pub(crate) when: When,
    /// The request.
    pub request: RequestTemplate,
    /// How the response body is parsed.
    pub(crate) body: BodyUse,
    /// The values to extract from the response.
    pub extraction: Extraction,
    /// The values to remember if it succeeds.
    pub(crate) remember: Vec<Remember>,
}

impl Step {
    /// Parses a response. A body that cannot be parsed is kept as text with the problem, so that a reply to the failure
    /// can still use the response.
    pub fn read(&self, response: Response) -> ParsedResponse {
        let Response { status, headers, body } = response;
        ParsedResponse::read(status.as_u16(), headers, body, self.body)
    }

    /// Extracts the values from a response that the route can use.
    ///
    /// # Errors
    /// The status is outside 200-299, the body cannot be parsed, or a required value is missing, and no reply case
    /// names the status.
    pub fn extract(
        &self,
        response: &ParsedResponse,
        scope: &Scope<'_>,
        replies: &Replies,
    ) -> Result<Values, ResponseError> {
        let status = response.status();
        // A step with a fallback fails on such a status even if a reply case names it, so that the fallback runs.
        let is_named = !self.has_fallback && replies.names_status(status);
        if !is_named && !(200..300).contains(&status) {
            return Err(match &self.request.upstream.delivery.credential_source {
                Some(check) if matches!(status, 401 | 403) => {
                    ResponseError::Credential { status, check: Arc::clone(check) }
                }
                _ => ResponseError::Status(status),
            });
        }
        // A response with another status may well be a page for people.
        if let Some(problem) = response.problem().filter(|_| !is_named || (200..300).contains(&status)) {
            return Err(ResponseError::Body { status, problem: problem.to_owned() });
        }
        let values = self.extraction.extract(response.body(), scope);
        match self.extraction.missing(&values) {
            Some(name) if !is_named => Err(ResponseError::Missing(name.to_owned())),
            _ => Ok(values),
        }
    }
}

/// `[routes.x.declare.<platform>]`: the extra keys of a declaration.
#[derive(Debug, Clone)]
pub struct Declared {
    /// The platform.
    pub platform: &'static str,
    /// The keys, with secrets as written.
    pub keys: Map<String, Value>,
    /// The values of the keys that hold secrets.
    pub secrets: Vec<(&'static str, Secret)>,
}

impl Route {
    /// The extension values that `platform` gets as soon as the arguments are validated.
    ///
    /// # Errors
    /// A value is missing, or does not fit its place.
    pub fn announcement(
        &self,
        scope: &Scope<'_>,
        platform: &str,
        guard: ExpansionFilter,
    ) -> Result<Vec<ReplyExtension>, RenderError> {
        let mut extensions = Vec::new();
        for extension in self.extensions.iter().filter(|extension| extension.platform == platform) {
            extensions.extend(extension.render(scope, guard)?);
        }
        Ok(extensions)
    }

    /// The tool definition of the function for `platform`.
    pub fn tool(&self, platform: &str) -> ToolSpec<'_> {
        static NOTHING: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
        let declared = self.declare.iter().find(|declared| declared.platform == platform);
        ToolSpec {
            name: &self.name,
            description: self.description.as_deref().unwrap_or_default(),
            parameters: self.form.as_ref().unwrap_or(self.arguments.schema()),
            streaming: self.streaming,
            form: self.form.is_some(),
            declared: declared.is_some(),
            extra: declared.map_or(&*NOTHING, |declared| &declared.keys),
            secrets: declared.map_or(&[], |declared| &declared.secrets),
        }
    }

    /// All extracted values by name. Those of named steps are grouped by step; a step without values is left out.
    pub fn extracted(&self, output: &[StepOutput]) -> Map<String, Value> {
        let mut out = Map::new();
        for (step, output) in self.steps.iter().zip(output) {
            let values = step.extraction.to_object(&output.values);
            match &step.name {
                None => out.extend(values),
                Some(name) if !values.is_empty() => {
                    out.insert(name.clone(), Value::Object(values));
                }
                Some(_) => {}
            }
        }
        out
    }

    /// Why a step was skipped, for people, with the values that the condition used if they are known.
    pub fn why_skipped(&self, step: usize, unmet: Option<UnmetCondition>, known: KnownValues<'_>) -> String {
        let Some(step) = self.steps.get(step) else { return String::new() };
        let earlier = step.after_failure_of.and_then(|earlier| self.steps.get(earlier)?.name.as_deref());
        match (unmet, earlier) {
            (Some(unmet), _) => step.when.describe_unmet(unmet, known),
            (None, earlier) => format!("`{}` did not fail", earlier.unwrap_or_default()),
        }
    }

    /// The indices of the steps that run concurrently with the step at `first`: those of its group that follow it
    /// directly.
    pub fn group_at(&self, first: usize) -> std::ops::Range<usize> {
        let group = self.steps.get(first).and_then(|step| step.group.as_ref());
        let more = self
            .steps
            .iter()
            .skip(first + 1)
            .take_while(|step| group.is_some() && step.group.as_ref() == group);
        first..first + 1 + more.count()
    }

    /// Whether an upstream has confirmed a change, according to the outputs of the steps.
    pub fn has_written(&self, outputs: &[StepOutput]) -> bool {
        let is_successful = |response: &ParsedResponse| (200..300).contains(&response.status());
        let mut steps = self.steps.iter().zip(outputs);
        steps.any(|(step, output)| {
            !step.request.is_safe() && output.response.as_ref().is_some_and(is_successful)
        })
    }

    /// Whether an upstream answered a write with a server error, so that it is unknown whether it was done.
    pub fn may_have_written(&self, outputs: &[StepOutput]) -> bool {
        let is_server_error = |response: &ParsedResponse| response.status() >= 500;
        let mut steps = self.steps.iter().zip(outputs);
        steps.any(|(step, output)| {
            !step.request.is_safe() && output.response.as_ref().is_some_and(is_server_error)
        })
    }

    /// Whether a call may send a request that is not safe.
    pub fn writes(&self) -> bool {
        self.steps.iter().any(|step| !step.request.is_safe())
    }

    /// Whether a failed call runs again when it is retried with its call id. The upstream recognises the retry by the
    /// idempotency key, which is the same only for the same call id.
    pub fn reruns_failures(&self) -> bool {
        self.idempotency_key.is_some()
    }

    /// Whether `platform` may call it.
    pub fn serves(&self, platform: &str) -> bool {
        self.platforms.as_ref().is_none_or(|platforms| platforms.contains(&platform))
    }
}
