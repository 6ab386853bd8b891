//! The reply to a call that failed.

use crate::call::Reply;
use crate::lang::template::Scope;
use crate::plan::replies::{PickError, SkippedCases};
use crate::plan::{FailureSlot, Route};

use super::{CallEnv, CallError};

/// The source of the text for a failure that no reply case matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextSource {
    /// The route's `failure`.
    Route(FailureSlot),
    /// `[defaults] failure`.
    Defaults(FailureSlot),
    /// The built-in text.
    BuiltIn,
}

/// The reply to a failure.
pub(super) struct FailureReply {
    /// The index of the matching reply case, from 0.
    pub(super) case: Option<usize>,
    /// The reply itself.
    pub(super) reply: Reply,
    /// Why the matching case could not be rendered.
    pub(super) error: Option<PickError>,
    /// The cases before it, with the reasons why they did not match.
    pub(super) skipped_cases: SkippedCases,
    /// The source of the text; `None` if a case matched.
    pub(super) source: Option<TextSource>,
}

impl FailureReply {
    /// The first of: the matching reply case, the route's text, the text of `[defaults]`, the built-in text.
    pub(super) fn on(error: &CallError, route: Option<&Route>, scope: &Scope<'_>, env: &CallEnv<'_>) -> Self {
        let kind = error.kind();
        let guard = env.platform.guard();
        let has_written = matches!(error, CallError::Unread(_))
            || route.is_some_and(|route| route.has_written(scope.steps));
        let slot = if has_written { FailureSlot::AfterWrite } else { FailureSlot::Kind(kind) };
        let (mut failure_error, mut skipped_cases) = (None, SkippedCases::new());
        let case = route.and_then(|route| {
            let platform = (env.platform.name(), guard);
            let picked = route.replies.pick_failure(slot, kind, scope, platform, &mut skipped_cases);
            picked.unwrap_or_else(|error| {
                failure_error = Some(error);
                None
            })
        });
        let text = || {
            let texts = [
                (TextSource::Route(slot), route.map(|route| &route.failure_texts)),
                (TextSource::Defaults(slot), Some(&env.plan.failure_texts)),
            ];
            // A text that needs a missing value is skipped.
            texts
                .into_iter()
                .find_map(|(source, texts)| Some((source, texts?.model_text(slot, scope, guard)?)))
        };
        let (case, reply, source) = match case {
            Some(picked) => (picked.case, picked.reply, None),
            None => {
                let built_in = || match route {
                    _ if has_written => error.model_text_after_write(),
                    Some(route) if route.may_have_written(scope.steps) => CallError::model_text_after_error(),
                    _ => error.model_text(),
                };
                let (source, text) = text().unwrap_or_else(|| (TextSource::BuiltIn, guard.text(&built_in())));
                (None, Reply::text(text), Some(source))
            }
        };
        Self { case, reply, error: failure_error, skipped_cases, source }
    }
}
