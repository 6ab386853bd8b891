//! `jackfield deliveries`: lists, shows, retries and drops deliveries. Works while `serve` runs.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::deliveries::{DeliveryQuery, shown};
use crate::plan::Plan;
use crate::secret::Masks;
use crate::state::{Delivery, DeliveryFilter, JobId, Page, Selection, Store};

use super::shared::{Stored, counted, plan_and_store};
use super::{print, print_json, report};

pub(super) const EXAMPLES: &str = "\
Examples:
  jackfield deliveries list --status dead                   what was given up, and why
  jackfield deliveries show 01j…                            one delivery, and the call that it holds
  jackfield deliveries retry --route log_lead --status dead    once the upstream works again
  jackfield deliveries drop --status dead --since 8h

Exits with 1 if there is no such delivery, and with 2 if the store cannot be reached.";

/// Arguments of `deliveries`.
#[derive(Debug, Args)]
pub(super) struct Deliveries {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List deliveries, newest first.
    List(List),
    /// Show one delivery and the call that it holds; secrets and sensitive values are hidden.
    Show(Show),
    /// Make deliveries due at once. Dead and delivered ones begin anew, with the full time for retries. Filters select
    /// delivered ones only with `--status delivered`.
    Retry(Selected),
    /// Delete deliveries that are not running. Filters need a `--status`.
    Drop(Selected),
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    filter: Filter,
    /// The most deliveries to list.
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    limit: u32,
    /// Output format.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

#[derive(Debug, Args)]
struct Show {
    /// The id of the delivery.
    id: String,
}

#[derive(Debug, Args)]
struct Selected {
    /// The ids of deliveries. Without any, at least one filter is needed.
    ids: Vec<String>,
    #[command(flatten)]
    filter: Filter,
}

#[derive(Debug, Args)]
struct Filter {
    /// Only those of this route or event.
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// Only those with this status: waiting, retrying, running, delivered or dead.
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,
    /// Only those accepted at this time or later: a time, or an age such as `8h`.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only those of this conversation.
    #[arg(long, value_name = "ID")]
    conversation: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One line for each delivery.
    Human,
    /// JSON.
    Json,
}

impl Filter {
    fn read(&self) -> anyhow::Result<DeliveryFilter> {
        let Self { route, status, since, conversation } = self;
        let query = DeliveryQuery {
            route: route.clone(),
            status: status.clone(),
            since: since.clone(),
            conversation: conversation.clone(),
        };
        query.read().map_err(|error| anyhow!(error))
    }

    fn is_given(&self) -> bool {
        let Self { route, status, since, conversation } = self;
        [route, status, since, conversation].iter().any(|key| key.is_some())
    }

    /// Says that the list is empty, and why if that is clear.
    fn none(&self, plan: &Plan) -> String {
        let is_known = |name: &str| {
            plan.routes.contains_key(name) || plan.events.iter().any(|(_, event, _)| *event == name)
        };
        match &self.route {
            Some(name) if !is_known(name) => {
                format!("no delivery matches these filters; the table has no route or event `{name}`")
            }
            _ if self.is_given() => "no delivery matches these filters".to_owned(),
            _ => "no deliveries".to_owned(),
        }
    }
}

pub(super) fn run(command: &Deliveries, path: &Path) -> anyhow::Result<ExitCode> {
    let Stored { plan, store, runtime } = match plan_and_store(path)? {
        Ok(stored) => stored,
        Err(code) => return Ok(code),
    };
    let code = runtime.block_on(act(&command.action, &plan, &store));
    runtime.shutdown_background();
    code
}

async fn act(action: &Action, plan: &Plan, store: &Store) -> anyhow::Result<ExitCode> {
    match action {
        Action::List(list) => {
            let page = Page { after: None, limit: list.limit };
            let found = store.deliveries(&list.filter.read()?, page).await?;
            if found.is_empty() && list.format == Format::Human {
                print(&list.filter.none(plan))?;
            } else {
                print_list(&found, list.format, &plan.masks)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Action::Show(Show { id }) => match store.delivery(id_of(id)?).await? {
            Some((delivery, payload)) => {
                print_json(&Value::Object(shown::whole(&delivery, &payload, plan)))?;
                Ok(ExitCode::SUCCESS)
            }
            None => Ok(nothing("there is no such delivery")),
        },
        Action::Retry(selected) => {
            let count = store.retry(&selected.to_retry()?).await?;
            done(count, "due at once")
        }
        Action::Drop(selected) => {
            let count = store.drop_jobs(&selected.to_drop()?).await?;
            done(count, "deleted")
        }
    }
}

impl Selected {
    fn read(&self) -> anyhow::Result<Selection> {
        match (self.ids.as_slice(), self.filter.is_given()) {
            ([], false) => {
                bail!("name the deliveries, or select them with `--status dead` or another filter")
            }
            ([], true) => Ok(Selection::Matching(self.filter.read()?)),
            (_, true) => bail!("ids and filters exclude each other: remove one of them"),
            (ids, false) => {
                Ok(Selection::Ids(ids.iter().map(|id| id_of(id)).collect::<anyhow::Result<_>>()?))
            }
        }
    }

    /// What to retry. A delivered call would be sent again, so it must be named by its id or its status.
    fn to_retry(&self) -> anyhow::Result<Selection> {
        Ok(match self.read()? {
            Selection::Matching(filter) => {
                let is_undelivered = filter.status.is_none();
                Selection::Matching(DeliveryFilter { is_undelivered, ..filter })
            }
            selection => selection,
        })
    }

    /// What to drop. Calls that wait are lost when they are dropped, so they must be named by their ids or their status.
    fn to_drop(&self) -> anyhow::Result<Selection> {
        match self.read()? {
            Selection::Matching(filter) if filter.status.is_none() => {
                bail!("say which of them to delete, with `--status dead` or another status")
            }
            selection => Ok(selection),
        }
    }
}

fn id_of(text: &str) -> anyhow::Result<JobId> {
    text.parse().map_err(|error| anyhow!("`{text}` is {error}"))
}

fn nothing(what: &str) -> ExitCode {
    report(&format!("{what}; `jackfield deliveries list` shows the deliveries"));
    ExitCode::FAILURE
}

fn done(count: u64, what: &str) -> anyhow::Result<ExitCode> {
    if count == 0 {
        return Ok(nothing("no delivery matches, or those that match are running right now"));
    }
    let noun = if count == 1 { "delivery" } else { "deliveries" };
    print(&format!("{count} {noun} {what}"))?;
    Ok(ExitCode::SUCCESS)
}

fn print_list(found: &[Delivery], format: Format, masks: &Masks) -> anyhow::Result<()> {
    if format == Format::Json {
        let list: Value =
            found.iter().map(|delivery| Value::Object(shown::summary(delivery, masks))).collect();
        return print_json(&json!({"deliveries": list}));
    }
    let width = found.iter().map(|delivery| delivery.work.name.len()).max().unwrap_or_default();
    let lines: Vec<String> = found.iter().map(|delivery| line(delivery, width, masks)).collect();
    print(&lines.join("\n"))
}

fn line(delivery: &Delivery, width: usize, masks: &Masks) -> String {
    let Delivery { id, work, status, attempts, accepted_at, .. } = delivery;
    let attempts = counted(*attempts, "attempt");
    let reason = shown::reason(delivery, masks).map(|reason| format!("  {reason}")).unwrap_or_default();
    format!("{id}  {accepted_at:.0}  {:<width$}  {:<9}  {attempts}{reason}", work.name, status.as_str())
}
