//! Attempts to deliver accepted calls: their metrics, and the one log line of each.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use humantime::{FormattedDuration, format_duration};
use tracing::field::display;

use crate::flow::Record;
use crate::plan::{LogLevel, Plan, Route};
use crate::printable::printable_line;
use crate::state::{JobId, JobOutcome};

use super::Observers;
use super::call_log::{one_line, shown_name};
use super::record_id::RecordId;

/// The address that is shown as the client of an attempt: nobody waits for it.
const NO_CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// An attempt to deliver a call that has ended.
#[derive(Debug)]
pub struct DeliveryEnded<'a> {
    /// The id of the delivery.
    pub id: JobId,
    /// The name of its route or event.
    pub name: &'a str,
    /// The platform that made the call.
    pub platform: &'a str,
    /// The conversation of the call.
    pub conversation: Option<&'a str>,
    /// The number of the attempt; 1 is the first.
    pub attempt: u32,
    /// Its outcome. Secrets in its reason are hidden.
    pub outcome: &'a JobOutcome,
    /// How long it took.
    pub time: Duration,
    /// The time since the call was accepted.
    pub since_accepted: Duration,
    /// Its record, if anything ran.
    pub record: Option<Box<Record>>,
    /// The plan that it ran with.
    pub plan: &'a Arc<Plan>,
    /// The route or event entry, if the plan has it.
    pub route: Option<&'a Arc<Route>>,
}

impl Observers {
    /// Passes an attempt that has ended to all observers.
    pub fn note_delivery(&self, mut ended: DeliveryEnded<'_>) {
        self.metrics.note_delivery(ended.name, ended.outcome);
        let most = ended.plan.server.records;
        let id = (most > 0 && ended.record.is_some()).then(|| self.history.next_id());
        log(&ended, id);
        let (Some(record), Some(route)) = (ended.record.take(), ended.route) else { return };
        self.metrics.note_steps(&record, Some(route));
        self.spans.take(&record, ended.plan, Some(route), NO_CLIENT);
        self.keep(record, (ended.plan, Some(route)), NO_CLIENT, id);
    }
}

/// The command that retries deliveries of the table in `main`, without their ids.
fn retry_command(main: Option<&Path>) -> String {
    match main.map(Path::to_string_lossy) {
        Some(file) if file != "routes.toml" => {
            format!("jackfield --config {} deliveries retry", shell_word(&file))
        }
        _ => "jackfield deliveries retry".to_owned(),
    }
}

/// A path as one word of a command.
fn shell_word(path: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-.:+/".contains(c);
    if path.chars().all(is_plain) {
        return path.to_owned();
    }
    format!("'{}'", printable_line(path).replace('\'', "'\\''"))
}

/// A time for people, without a fraction of a millisecond.
fn in_whole_ms(time: Duration) -> FormattedDuration {
    format_duration(Duration::from_millis(time.as_millis().try_into().unwrap_or(u64::MAX)))
}

/// Logs the line of an attempt.
fn log(ended: &DeliveryEnded<'_>, id: Option<RecordId>) {
    let DeliveryEnded { id: delivery, attempt, .. } = ended;
    let (route, platform, record_id) = (shown_name(ended.name), ended.platform, id.map(display));
    let conversation = ended.conversation.map(|conversation| display(shown_name(conversation)));
    let (ms, age_ms) = (ended.time.as_millis(), ended.since_accepted.as_millis());
    let age = in_whole_ms(ended.since_accepted);
    let accepted_by = ended.record.as_ref().and_then(|record| {
        let attempt = record.delivery.as_ref()?.attempt.as_ref()?;
        (attempt.revision != ended.plan.revision).then(|| display(attempt.revision.clone()))
    });
    match ended.outcome {
        JobOutcome::Delivered => tracing::info!(
            %delivery, %route, %platform, conversation, attempt, ms, age_ms, accepted_by, record_id,
            outcome = %"delivered",
            "{route}: delivered in {ms} ms, {age} after the call (attempt {attempt})"
        ),
        JobOutcome::RetryIn { delay, reason } => {
            let (reason, next, next_ms) = (one_line(reason), in_whole_ms(*delay), delay.as_millis());
            tracing::warn!(
                %delivery, %route, %platform, conversation, attempt, ms, age_ms, accepted_by, record_id, next_ms,
                outcome = %"retrying",
                "{route}: attempt {attempt} failed, next one in {next}: {reason}"
            );
        }
        JobOutcome::Returned { delay, reason } => {
            let (reason, next, next_ms) = (one_line(reason), in_whole_ms(*delay), delay.as_millis());
            tracing::warn!(
                %delivery, %route, %platform, conversation, attempt, ms, age_ms, accepted_by, record_id, next_ms,
                outcome = %"returned",
                "{route}: this instance cannot deliver the call now, handed back for {next}: {reason}"
            );
        }
        JobOutcome::Dead { reason } => {
            let reason = one_line(reason);
            let message = format!(
                "{route}: not delivered, given up at attempt {attempt}, {age} after the call: {reason}; run \
                 `{} {delivery}` to try again",
                retry_command(ended.plan.files.first().map(PathBuf::as_path))
            );
            macro_rules! dead {
                ($level:ident) => {
                    tracing::$level!(
                        %delivery, %route, %platform, conversation, attempt, ms, age_ms, accepted_by, record_id,
                        outcome = %"dead", "{message}"
                    )
                };
            }
            let delivery = ended.route.and_then(|route| route.state.delivery);
            match delivery.map_or(LogLevel::Warn, |delivery| delivery.on_dead) {
                LogLevel::Error => dead!(error),
                LogLevel::Info | LogLevel::Debug | LogLevel::Trace => dead!(info),
                LogLevel::Warn => dead!(warn),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_to_retry_names_the_table() {
        for (main, command) in [
            (None, "jackfield deliveries retry"),
            (Some("routes.toml"), "jackfield deliveries retry"),
            (
                Some("/etc/jackfield/routes.toml"),
                "jackfield --config /etc/jackfield/routes.toml deliveries retry",
            ),
            (Some("my shop/routes.toml"), "jackfield --config 'my shop/routes.toml' deliveries retry"),
        ] {
            assert_eq!(retry_command(main.map(Path::new)), command);
        }
    }
}
