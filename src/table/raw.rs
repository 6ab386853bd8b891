//! What `routes.toml` may say: one struct per table, one field per key. No logic.
//!
//! Keys that the design names and this version does not have yet are listed after `later`.

use crate::diagnostic::Diagnostics;

use super::document::{Entries, Kind, Located, Node};
use super::reader::{
    Choice, FromNode, Key, Named, WithJson, not_yet, read, table_of, toml_table, unknown_key, wrong_type,
};
use super::shape::{Described, KeyForm, KeyShape, Rest, Shape};

/// A list of strings with their places.
pub(crate) type Strings = Vec<Located<String>>;

toml_table! {
    /// The main file, or an included one.
    RawFile {
        /// More files, as paths or patterns.
        include: Strings,
        /// Where and how the proxy listens.
        server: RawServer,
        /// What is logged, and how.
        log: RawLog,
        /// Where the spans of calls go.
        traces: RawTraces,
        /// Who may call, by platform name.
        platforms: Named<RawPlatform> as KeyForm::Platforms,
        /// Whom routes call, by name.
        upstreams: Named<WithJson<RawUpstream>>,
        /// What holds for every route that does not say otherwise.
        defaults: WithJson<RawDefaults>,
        /// Constants that templates see as `vars.*`.
        vars: Named<Kind>,
        /// How each function is answered, by function name.
        routes: Named<WithJson<RawRoute>>,
        /// How webhooks that are no function calls are answered, by platform and event.
        events: Named<Named<WithJson<RawRoute>>> as KeyForm::Events,
        /// What a platform asks the user in a form of its own, by the name that the model knows.
        forms: Named<WithJson<RawForm>>,
    }
    later ["state"]
}

toml_table! {
    /// `[server]`
    RawServer {
        /// The listener for platforms: an IP address and a port, `"127.0.0.1:8080"` unless given.
        listen: String,
        /// The door for health and reload status; not opened unless given.
        admin: String,
        /// Who may open the admin listener; needed when it is not on loopback.
        admin_auth: Choice as KeyForm::AdminAuth,
        /// How changed files are noticed: `"events"` (default) or `"poll"`.
        watch: String as KeyForm::Watch,
        /// The address at which platforms reach this proxy.
        public_url: String,
        /// The largest body a platform may send; `"1MiB"` unless given.
        max_body: String as KeyForm::Size,
        /// The most calls in flight; 4096 unless given.
        max_calls: u64,
        /// The most connections to the listener for platforms; 4096 unless given.
        max_connections: u64,
        /// How many calls the admin listener can show; 200 unless given, and none with 0.
        records: u64,
        /// The certificate and key of the listener for platforms, which is plain HTTP without them.
        tls: RawTls,
        /// The proxies, as addresses or networks, that are believed when they say for whom they call.
        trusted_proxies: Strings,
    }
}

toml_table! {
    /// `server.tls`: PEM files, read again when they change.
    RawTls {
        /// The file of the door's certificate, followed by those that vouch for it.
        cert: String,
        /// The file of the certificate's private key.
        key: String,
    }
}

toml_table! {
    /// `[log]`
    RawLog {
        /// How lines are written: `"human"`, `"json"`, or `"auto"` (default): for people on a terminal, as JSON elsewhere.
        format: String as KeyForm::LogFormat,
        /// Whether arguments, requests and replies are logged too; `false` unless given.
        bodies: bool,
    }
}

toml_table! {
    /// `[traces]`
    RawTraces {
        /// Where a collector of OpenTelemetry takes spans by OTLP over HTTP.
        endpoint: String,
        /// Headers that it wants, such as a login.
        headers: Named<String>,
        /// The share of traces that are recorded, of those that begin here; all unless given.
        sample: Kind as KeyForm::Fraction,
        /// What the proxy is called in them; `"jackfield"` unless given.
        service: String,
    }
}

toml_table! {
    /// `[platforms.<name>]`: present means served.
    RawPlatform {
        /// How a caller proves to be the platform.
        auth: Choice as KeyForm::InboundAuth,
        /// How long the platform waits for an answer.
        deadline: String as KeyForm::Duration,
        /// The inbound headers that templates see as `call.headers.*`.
        headers: Strings,
        /// The warnings about this platform that are known and meant so.
        allow: Strings as KeyForm::Warnings,
    }
    rest options as Rest::Settings
}

toml_table! {
    /// `[upstreams.<name>]`
    RawUpstream {
        /// What every path of this upstream is appended to.
        base_url: String,
        /// The credential that is put on every request.
        auth: Choice as KeyForm::OutboundAuth,
        /// Headers of every request.
        headers: Named<String>,
        /// The longest that one attempt may take.
        timeout: String as KeyForm::Duration,
        /// The largest body that is read, after decompression; `"4MiB"` unless given.
        max_body: String as KeyForm::Size,
        /// Which redirects are followed: none unless `"same_origin"`.
        redirects: String as KeyForm::Redirects,
        /// How TLS is spoken.
        tls: RawUpstreamTls,
        /// What is tried again.
        retry: RawRetry,
        /// When a second request is sent beside one that is late: after a time, or `"p95"`.
        hedge_after: String as KeyForm::Hedge,
        /// When nothing is sent for a while, because too much fails.
        breaker: RawBreaker,
        /// How many requests are sent at a time, and in a time.
        limit: RawLimit,
        /// Where it may be: `"any"` unless `"public"`.
        network: String as KeyForm::Network,
        /// The HTTP proxy that requests go through: `"http://user:password@proxy.internal:3128"`.
        proxy: String,
        /// The path that `check --online` asks for; the `base_url` itself unless given.
        health: String,
        /// The warnings about this upstream that are known and meant so.
        allow: Strings as KeyForm::Warnings,
    }
}

toml_table! {
    /// `upstreams.<name>.retry`
    RawRetry {
        /// The most attempts of one request, the first included; 2 unless given.
        attempts: u64,
        /// The pause before the second attempt, doubled for each further one; `"100ms"` unless given.
        backoff: String as KeyForm::Duration,
        /// The kinds of failure and the statuses that are tried again.
        on: Vec<Located<Kind>> as KeyForm::Retried,
    }
}

toml_table! {
    /// `upstreams.<name>.breaker`
    RawBreaker {
        /// The share of failures from which on it opens, above 0 and at most 1; 0.5 unless given.
        failure_rate: Kind as KeyForm::Share,
        /// Over which time they are counted; `"30s"` unless given.
        window: String as KeyForm::Duration,
        /// How many requests there must be within it; 10 unless given.
        min_calls: u64,
        /// How long nothing is sent; `"10s"` unless given.
        open_for: String as KeyForm::Duration,
        /// How many requests are tried then, which must all go well; 1 unless given.
        probes: u64,
    }
}

toml_table! {
    /// `limit` of an upstream or a route.
    RawLimit {
        /// The most at the same time.
        concurrency: u64,
        /// The most in a time: `"10/s"`, `"100/m"`, `"1000/h"`.
        rate: String as KeyForm::Rate,
        /// How many of them may come at once after a quiet time; those of one second, but one at least, unless given.
        burst: u64,
        /// The longest that one waits for its turn; `"1s"` unless given.
        wait: String as KeyForm::Duration,
    }
}

toml_table! {
    /// `upstreams.<name>.tls`
    RawUpstreamTls {
        /// A PEM file with the authorities whose certificates are believed, in place of the public ones.
        ca: String,
    }
}

toml_table! {
    /// `[defaults]`
    RawDefaults {
        /// What is said on each kind of failure.
        failure: Named<String> as KeyForm::FailureTexts,
        /// Headers of every request.
        headers: Named<String>,
        /// The warnings that are known and meant so, in the whole table.
        allow: Strings as KeyForm::Warnings,
    }
}

toml_table! {
    /// `[routes.<function>]`
    RawRoute {
        /// What the function does, for the model.
        description: String,
        /// Which upstream the request goes to.
        upstream: String,
        /// Who may call it; every served platform unless given.
        platforms: Strings as KeyForm::PlatformNames,
        /// The arguments, by name.
        args: Named<RawArgument>,
        /// A JSON Schema file in place of `args`.
        args_schema: String,
        /// What is sent.
        request: RawRequest,
        /// How the reply is read.
        response: RawResponse,
        /// What is taken out of the reply, by name.
        extract: Named<RawExtract>,
        /// Several requests, in order, in place of `request`.
        steps: Vec<Located<RawStep>>,
        /// What is answered: one case or a list of them.
        reply: RawReplies,
        /// What is said on each kind of failure.
        failure: Named<String> as KeyForm::FailureTexts,
        /// The longest this call may take; it can only shorten the platform's deadline.
        timeout: String as KeyForm::Duration,
        /// How often it may be called.
        limit: RawLimit,
        /// The header by which its upstreams can tell that two requests which change something are the same.
        idempotency_key: String,
        /// How long the same call in the same conversation counts as a repeat, where the platform gives no id.
        repeat_window: String as KeyForm::Duration,
        /// How long the reply to a request that changes nothing stands for a new one.
        cache: String as KeyForm::Duration,
        /// For how much longer it does when the upstream fails.
        stale_if_error: String as KeyForm::Duration,
        /// Whether the answer is a stream, for platforms that take one.
        streaming: bool,
        /// What is declared to one platform alone, by platform.
        declare: Named<Kind> as KeyForm::Declare,
        /// Calls that are made up, and what must come of them; for `jackfield test`.
        tests: Vec<Located<RawTest>>,
        /// The warnings about this route that are known and meant so.
        allow: Strings as KeyForm::Warnings,
    }
    later ["delivery", "remember"]
    rest own as Rest::RouteSeries
}

toml_table! {
    /// `[forms.<name>]`
    RawForm {
        /// What the form is for, for the model.
        description: String,
        /// The one thing that it asks for, by name.
        args: Named<RawArgument>,
    }
}

toml_table! {
    /// `[routes.x.args.<name>]`
    RawArgument {
        /// `string`, `integer`, `number`, `boolean`, `array` or `object`.
        type_name: String as KeyForm::ArgumentType,
        /// What it means, for the model.
        description: String,
        /// Whether a call without it is refused.
        required: bool,
        /// What it is when it is not given.
        default: Kind,
        /// The only values it may have.
        enumeration: Vec<Located<Kind>>,
        /// The least number.
        min: Kind as KeyForm::Number,
        /// The greatest number.
        max: Kind as KeyForm::Number,
        /// The fewest characters or items.
        min_length: u64,
        /// The most characters or items.
        max_length: u64,
        /// A regular expression that must be found in it.
        pattern: String,
        /// A named form such as `date` or `email`.
        format: String as KeyForm::ArgumentFormat,
        /// What each item of an array is.
        items: Box<RawArgument>,
        /// What each key of an object is.
        properties: Named<RawArgument>,
        /// Whether its value is hidden wherever calls are shown.
        sensitive: bool,
        /// One expression that gives the list of the only values it may have, supplied by the platform.
        allowed: Kind as KeyForm::Text,
    }
}

toml_table! {
    /// `[routes.x.request]`
    RawRequest {
        /// The method.
        method: String as KeyForm::Method,
        /// What is appended to the upstream's `base_url`.
        path: String,
        /// The query, by parameter.
        query: Named<Kind> as KeyForm::Parameters,
        /// Headers of this request.
        headers: Named<String>,
        /// A JSON body.
        body: Kind,
        /// A form body, by field.
        form: Named<Kind> as KeyForm::Parameters,
        /// A template file that makes the body.
        body_file: String,
        /// The content type of a `body_file`.
        content_type: String,
    }
}

toml_table! {
    /// One of `[[routes.x.steps]]`.
    RawStep {
        /// The name, by which later steps and replies see what it brings.
        name: String,
        /// Steps side by side with the same group are asked at the same time.
        group: String,
        /// When it is asked; always unless given.
        when: RawWhen,
        /// Which upstream the request goes to; the route's unless given.
        upstream: String,
        /// What is sent.
        request: RawRequest,
        /// How the reply is read.
        response: RawResponse,
        /// What is taken out of the reply, by name.
        extract: Named<RawExtract>,
    }
}

toml_table! {
    /// `[routes.x.response]`
    RawResponse {
        /// `json`, `text` or `xml`, whatever the upstream's content type says.
        format: String as KeyForm::ResponseFormat,
    }
}

/// `[routes.x.extract]`: a JSONPath, or a table with one and how to read it.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawExtract {
    pub(crate) path: Key<String>,
    pub(crate) all: Key<bool>,
    pub(crate) default: Key<Kind>,
    pub(crate) required: Key<bool>,
}

toml_table! {
    /// The long form of an extract.
    RawExtractTable {
        /// The JSONPath.
        path: String,
        /// Whether every match is taken, as a list.
        all: bool,
        /// What it is when nothing matches.
        default: Kind,
        /// Whether a reply without it is `bad_response`.
        required: bool,
    }
}

impl Described for RawExtract {
    fn form() -> KeyForm {
        KeyForm::Either(&[<String as Described>::form, RawExtractTable::form])
    }
}

impl FromNode for RawExtract {
    fn from_node(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        match &node.value {
            Kind::String(_) => Some(Self { path: read(node, diagnostics), ..Self::default() }),
            Kind::Table(_) => {
                let RawExtractTable { path, all, default, required } =
                    FromNode::from_node(node, diagnostics)?;
                Some(Self { path, all, default, required })
            }
            _ => wrong_type(node, "a JSONPath or a table with `path`", diagnostics),
        }
    }
}

/// `reply`: one case, or a list of cases.
#[derive(Debug, Clone)]
pub(crate) struct RawReplies(pub(crate) Vec<Located<RawReply>>);

impl Described for RawReplies {
    fn form() -> KeyForm {
        KeyForm::Either(&[RawReply::form, <Vec<Located<RawReply>> as Described>::form])
    }
}

impl FromNode for RawReplies {
    fn from_node(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        match &node.value {
            Kind::List(_) => FromNode::from_node(node, diagnostics).map(Self),
            Kind::Table(_) => {
                let value = RawReply::from_node(node, diagnostics)?;
                Some(Self(vec![Located { value, span: node.span }]))
            }
            _ => wrong_type(node, "a table or a list of tables", diagnostics),
        }
    }
}

toml_table! {
    /// One case of `reply`.
    RawReply {
        /// When this case holds; always unless given.
        when: RawWhen,
        /// Text for the model.
        text: String,
        /// JSON for the model.
        data: Kind,
        /// A template file that makes the text.
        text_file: String,
        /// A template file that makes the JSON.
        data_file: String,
        /// The most characters of the text; the rest is cut at a word.
        max_chars: u64,
    }
    rest own as Rest::OfReply
}

toml_table! {
    /// `when` of a reply case; its conditions must all hold.
    RawWhen {
        /// A status, a class such as `"4xx"`, or a list of them.
        status: Kind as KeyForm::Statuses,
        /// A JSONPath that must match something.
        found: String,
        /// A JSONPath that must match nothing.
        missing: String,
        /// Names and the value, or list of values, that each must have.
        equals: Kind as KeyForm::Equals,
        /// Names and the regular expression that must be found in each.
        matches: Kind as KeyForm::Matches,
        /// A kind of failure, a list of kinds, or `"any"`; in a reply case only.
        failure: Kind as KeyForm::Failures,
        /// The name of a step that must have failed; in a step only.
        failed: String,
    }
}

toml_table! {
    /// A file of tests, `*.test.toml` beside the main file.
    RawTestFile {
        /// The tests.
        tests: Vec<Located<RawTest>>,
    }
}

toml_table! {
    /// One of `[[routes.x.tests]]`, or of `[[tests]]` in a file of tests.
    RawTest {
        /// What it shows, in a few words.
        name: String,
        /// The route that it is a test of; in a file of tests only.
        route: String,
        /// The event that it is a test of, as `voicedock.status_update`, in place of a route.
        event: String,
        /// The arguments of the call, as the model would give them.
        args: Named<Kind>,
        /// A file with the whole body of a platform's request, in place of `args`.
        request_file: String,
        /// Who calls: `http` unless given, or the first of the route's own platforms.
        platform: String,
        /// What the platform says about the call, as templates see it.
        call: RawTestCall,
        /// The time of the call; noon of the first day of 2026 unless given.
        now: Kind,
        /// What the upstream answers, for a route with one request.
        upstream: RawCanned,
        /// What the upstreams answer, by step.
        upstreams: Named<RawCanned>,
        /// What must come of it.
        expect: RawExpect,
    }
    later ["memory"]
}

toml_table! {
    /// `call` of a test: what it says stands in place of what the request says.
    RawTestCall {
        /// The platform's id of the call.
        id: String,
        /// The id of the conversation.
        conversation: String,
        /// Who speaks to the assistant.
        caller: String,
        /// The number that was called.
        called: String,
        /// State that the platform keeps for the function.
        metadata: Kind,
        /// State that the platform keeps for the session.
        global: Kind,
        /// The headers that the platform hands on.
        headers: Named<String>,
    }
}

toml_table! {
    /// `upstream` of a test, and each of its `upstreams`: a reply, or a failure in its place.
    RawCanned {
        /// The status; 200 unless given.
        status: u64,
        /// The headers.
        headers: Named<String>,
        /// The body: a string as it is, anything else as JSON.
        body: Kind,
        /// A file with the body.
        body_file: String,
        /// What happens in place of a reply: `"timeout"` or `"unreachable"`.
        failure: String,
    }
}

toml_table! {
    /// `expect` of a test; one thing at least.
    RawExpect {
        /// The text for the model.
        text: String,
        /// The JSON for the model.
        data: Kind,
        /// The kind of failure that the call ends in.
        failure: String,
        /// What is sent, for a route with one request.
        request: RawExpectedRequest,
        /// What is sent, by step.
        requests: Named<RawExpectedRequest>,
        /// The whole answer, by platform: each of them is asked.
        as_platform: Named<Kind>,
    }
}

toml_table! {
    /// `request` of `expect`, and each of its `requests`.
    RawExpectedRequest {
        /// The method.
        method: String,
        /// The whole URL, or what follows the upstream's `base_url` when it begins with `/`.
        url: String,
        /// Headers; there may be others.
        headers: Named<String>,
        /// The body: a string as it is, anything else as JSON, or as the fields of a form.
        body: Kind,
    }
}
