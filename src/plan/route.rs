//! A route: how one function is answered.

use std::sync::LazyLock;
use std::time::Duration;

use http::HeaderName;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::guard::ExpansionFilter;
use crate::platform::ToolSpec;
use crate::upstream::Response;
use crate::upstream::delivery::limit::LimitPolicy;

use super::FailureTexts;
use super::allowed::Allowed;
use super::arguments::Arguments;
use super::extraction::{Extraction, Values};
use super::replies::{Extension, Replies};
use super::request::RequestTemplate;
use super::when::{Unmet, When};
use crate::lang::body::BodyUse;
use crate::lang::template::{RenderError, Scope, StepOutput, UpstreamReply};

/// How one function is answered, compiled.
#[derive(Debug)]
pub struct Route {
    /// The function's name.
    pub name: String,
    /// What the function does, for the model.
    pub description: Option<String>,
    /// The platforms that may call it; `None`: every served one.
    pub platforms: Option<Vec<&'static str>>,
    /// What it takes.
    pub arguments: Arguments,
    /// Which values the platform allows.
    pub allowed: Allowed,
    /// What is asked of upstreams, in order; none: the route answers by itself. A route with a `request` has one
    /// step without a name.
    pub steps: Vec<Step>,
    /// What is answered.
    pub replies: Replies,
    /// What is said on a failure that no case is for.
    pub failure_texts: FailureTexts,
    /// The longest the call may take, when that is less than the platform allows.
    pub timeout: Option<Duration>,
    /// How often it may be called; `None`: as often as its platforms like.
    pub limit: Option<RouteLimit>,
    /// The header by which its upstreams can tell that two requests which change something are the same.
    pub idempotency_key: Option<HeaderName>,
    /// How long a call that asks for the same in the same conversation counts as a repeat, where the platform gives no
    /// id.
    pub repeat_window: Option<Duration>,
    /// How long replies to requests that change nothing stand for new ones.
    pub cache: Option<CachePolicy>,
    /// Whether the answer is a stream, on platforms that take one.
    pub streaming: bool,
    /// The schema of the one field, when platforms show this as a form; called all the same, it takes nothing.
    pub form: Option<Value>,
    /// What a platform is sent as soon as the arguments are validated.
    pub(crate) extensions: Vec<Extension>,
    /// What is declared to one platform alone.
    pub declare: Vec<(&'static str, Map<String, Value>)>,
    /// A hash of everything that decides how the route behaves.
    pub fingerprint: [u8; 32],
}

/// The limit of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteLimit {
    /// What it allows.
    pub policy: LimitPolicy,
    /// Where its limiter stands among the resources of the plan.
    pub slot: usize,
}

impl Route {
    /// A route that sends no request and has no replies yet; its other parts are the defaults.
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
            declare: Vec::new(),
            fingerprint,
        }
    }
}

/// How long a reply stands for a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CachePolicy {
    /// For so long.
    pub fresh: Duration,
    /// For so much longer when the upstream fails.
    pub stale: Duration,
}

/// Why a reply cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReplyError {
    /// A status outside of 200-299 that no case names.
    #[error("the upstream answered with status {0}, which no reply case names")]
    Status(u16),
    /// The body cannot be read.
    #[error("the upstream answered with status {status}, but {problem}")]
    Body {
        /// The status.
        status: u16,
        /// What is wrong with the body.
        problem: String,
    },
    /// A required value is not there.
    #[error("the required value `{0}` is not in the upstream's reply")]
    Missing(String),
}

/// One request of a route, and what is taken out of its reply.
#[derive(Debug)]
pub struct Step {
    /// The name; `None`: the only request of the route.
    pub name: Option<String>,
    /// Steps that stand side by side with the same group are asked at the same time.
    pub group: Option<String>,
    /// The step whose failure this one makes good.
    pub(crate) after_failure_of: Option<usize>,
    /// Whether some later step makes a failure of this one good.
    pub(crate) has_fallback: bool,
    /// The conditions under which it is asked.
    pub(crate) when: When,
    /// What is sent.
    pub request: RequestTemplate,
    /// How the reply's body is read.
    pub(crate) body: BodyUse,
    /// What is taken out of the reply.
    pub extraction: Extraction,
}

impl Step {
    /// The upstream's reply as templates see it. Nothing is judged here, so that a failure can be answered with
    /// what came.
    pub fn read(&self, response: Response) -> UpstreamReply {
        let Response { status, headers, body } = response;
        UpstreamReply::read(status.as_u16(), headers, body, self.body)
    }

    /// Takes the values out of a reply, if it is one that the route can use.
    ///
    /// # Errors
    /// A status outside of 200-299, a body that cannot be read, or a required value that is not there, unless a
    /// case names the status.
    pub fn extract(&self, reading: &UpstreamReply, replies: &Replies) -> Result<Values, ReplyError> {
        let status = reading.status();
        // A step with a fallback fails by its status even if a case names it: the fallback is asked first.
        let named = !self.has_fallback && replies.names_status(status);
        if !named && !(200..300).contains(&status) {
            return Err(ReplyError::Status(status));
        }
        // With a status that is no success, what came may well be a page for people.
        if let Some(problem) = reading.problem().filter(|_| !named || (200..300).contains(&status)) {
            return Err(ReplyError::Body { status, problem: problem.to_owned() });
        }
        let values = self.extraction.extract(reading.body());
        match self.extraction.missing(&values) {
            Some(name) if !named => Err(ReplyError::Missing(name.to_owned())),
            _ => Ok(values),
        }
    }
}

impl Route {
    /// What `platform` is told as soon as the arguments fit.
    ///
    /// # Errors
    /// A value that is missing or does not fit.
    pub fn announcement(
        &self,
        scope: &Scope<'_>,
        platform: &str,
        guard: ExpansionFilter,
    ) -> Result<Map<String, Value>, RenderError> {
        let mut extensions = Map::new();
        for Extension { key, value, .. } in
            self.extensions.iter().filter(|extension| extension.platform == platform)
        {
            extensions.extend(value.render(scope, guard)?.map(|value| ((*key).to_owned(), value)));
        }
        Ok(extensions)
    }

    /// The function as it is declared to `platform`.
    pub fn tool(&self, platform: &str) -> ToolSpec<'_> {
        static NOTHING: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
        ToolSpec {
            name: &self.name,
            description: self.description.as_deref().unwrap_or_default(),
            parameters: self.form.as_ref().unwrap_or(self.arguments.schema()),
            streaming: self.streaming,
            form: self.form.is_some(),
            declared: self.declare.iter().any(|(owner, _)| *owner == platform),
            extra: self
                .declare
                .iter()
                .find(|(owner, _)| *owner == platform)
                .map_or(&*NOTHING, |(_, extra)| extra),
        }
    }

    /// Everything that was extracted, by name; with named steps an object for each step that brought something.
    pub fn extracted(&self, brought: &[StepOutput]) -> Map<String, Value> {
        let mut out = Map::new();
        for (step, brought) in self.steps.iter().zip(brought) {
            let values = step.extraction.to_object(&brought.values);
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

    /// Why a step was not asked, for people; with the values that its condition looked at, if they are still there.
    pub fn why_skipped(&self, step: usize, unmet: Option<Unmet>, scope: Option<&Scope<'_>>) -> String {
        let Some(step) = self.steps.get(step) else { return String::new() };
        let earlier = step.after_failure_of.and_then(|earlier| self.steps.get(earlier)?.name.as_deref());
        match (unmet, earlier) {
            (Some(unmet), _) => step.when.told(unmet, scope),
            (None, earlier) => format!("`{}` did not fail", earlier.unwrap_or_default()),
        }
    }

    /// The steps that are asked together with the one at `first`: those of its group that follow it directly.
    pub fn together(&self, first: usize) -> std::ops::Range<usize> {
        let group = self.steps.get(first).and_then(|step| step.group.as_ref());
        let more = self
            .steps
            .iter()
            .skip(first + 1)
            .take_while(|step| group.is_some() && step.group.as_ref() == group);
        first..first + 1 + more.count()
    }

    /// Whether an upstream has confirmed a change, by what the steps brought.
    pub fn has_written(&self, brought: &[StepOutput]) -> bool {
        let is_good = |reading: &UpstreamReply| (200..300).contains(&reading.status());
        let mut steps = self.steps.iter().zip(brought);
        steps.any(|(step, brought)| !step.request.is_safe() && brought.reading.as_ref().is_some_and(is_good))
    }

    /// Whether a call may change something at an upstream.
    pub fn writes(&self) -> bool {
        self.steps.iter().any(|step| !step.request.is_safe())
    }

    /// Whether `platform` may call it.
    pub fn serves(&self, platform: &str) -> bool {
        self.platforms.as_ref().is_none_or(|platforms| platforms.contains(&platform))
    }
}
