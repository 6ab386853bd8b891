//! The table of the soak, and how it changes from one reload to the next.

use std::net::SocketAddr;

use fastrand::Rng;

/// How long both platforms wait.
pub(crate) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(3);

/// What every text of a failure begins with; the kind comes after it.
pub(crate) const FAILED: &str = "failed: ";

/// What can be expected of a function.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Its upstream is a good one: every call is answered rightly.
    Good,
    /// Its upstream is rude: a call may fail, but is never answered wrongly.
    Rude,
    /// It comes and goes with the reloads: a call is answered rightly or finds no route.
    Passing,
}

/// A function, with the arguments that all of them take: `nonce`, which every right answer says again.
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) trust: Trust,
    /// Whether it changes something, so that each call may arrive once.
    pub(crate) writes: bool,
    /// Whether the upstream can tell by a key that two requests are the same, so that they may arrive again.
    pub(crate) keyed: bool,
    /// Whether calls share their nonces, so that a cache has something to do.
    pub(crate) shared: bool,
    /// How many of a hundred calls are its.
    pub(crate) share: u32,
    /// Its route.
    route: &'static str,
}

/// What most of them have in common.
const READ: Function = Function {
    name: "",
    trust: Trust::Good,
    writes: false,
    keyed: false,
    shared: false,
    share: 6,
    route: "",
};

/// All of them; their shares make a hundred.
pub(crate) const FUNCTIONS: [Function; 16] = [
    Function {
        name: "read",
        share: 14,
        route: r#"upstream = "good"
            request.path = "/echo/{{args.nonce}}""#,
        ..READ
    },
    Function {
        name: "wide",
        share: 2,
        route: r#"upstream = "good"
            request.path = "/wide/{{args.nonce}}""#,
        ..READ
    },
    Function {
        name: "stock",
        shared: true,
        share: 10,
        route: r#"upstream = "good"
            request.path = "/echo/{{args.nonce}}"
            cache = "2s""#,
        ..READ
    },
    Function {
        name: "write",
        writes: true,
        share: 12,
        route: r#"upstream = "good"
            request = { method = "POST", path = "/write", body.nonce = "{{args.nonce}}" }
            repeat_window = "30s""#,
        ..READ
    },
    Function {
        name: "steps",
        route: r#"steps = [
            { name = "first", upstream = "good", request.path = "/first/{{args.nonce}}", extract.token = "$.token" },
            { name = "second", upstream = "good", request.path = "/second/{{first.token}}", extract.nonce = "$.nonce" }]
            reply.text = "{{second.nonce}}""#,
        ..READ
    },
    Function {
        name: "guarded",
        route: r#"upstream = "guarded"
            request.path = "/guarded/{{args.nonce}}""#,
        ..READ
    },
    Function {
        name: "bearer",
        route: r#"upstream = "bearer"
            request.path = "/bearer/{{args.nonce}}""#,
        ..READ
    },
    Function {
        name: "rude",
        trust: Trust::Rude,
        share: 8,
        route: r#"upstream = "rude"
            request.path = "/echo/{{args.nonce}}""#,
        ..READ
    },
    Function {
        name: "rude_write",
        trust: Trust::Rude,
        writes: true,
        share: 8,
        route: r#"upstream = "rude"
            request = { method = "POST", path = "/write", body.nonce = "{{args.nonce}}" }
            repeat_window = "30s""#,
        ..READ
    },
    Function {
        name: "rude_keyed",
        trust: Trust::Rude,
        writes: true,
        keyed: true,
        share: 4,
        route: r#"upstream = "rude"
            request = { method = "POST", path = "/keyed", body.nonce = "{{args.nonce}}" }
            idempotency_key = "idempotency-key"
            repeat_window = "30s""#,
        ..READ
    },
    Function {
        name: "rude_stock",
        trust: Trust::Rude,
        shared: true,
        route: r#"upstream = "rude"
            request.path = "/echo/{{args.nonce}}"
            cache = "1s"
            stale_if_error = "1m""#,
        ..READ
    },
    Function {
        name: "rude_steps",
        share: 4,
        route: r#"steps = [
            { name = "fast", upstream = "quick", request.path = "/echo/{{args.nonce}}", extract.nonce = "$.nonce" },
            { name = "slow", when.failed = "fast", upstream = "good", request.path = "/echo/{{args.nonce}}", extract.nonce = "$.nonce" }]
            reply.text = "{{default fast.nonce slow.nonce}}""#,
        ..READ
    },
    Function {
        name: "hedged",
        trust: Trust::Rude,
        share: 4,
        route: r#"upstream = "hedged"
            request.path = "/echo/{{args.nonce}}""#,
        ..READ
    },
    Function {
        name: "limited",
        trust: Trust::Rude,
        share: 4,
        route: r#"upstream = "limited"
            request.path = "/echo/{{args.nonce}}""#,
        ..READ
    },
    Function {
        name: "broken",
        trust: Trust::Rude,
        share: 4,
        route: r#"upstream = "broken"
            request.path = "/echo/{{args.nonce}}""#,
        ..READ
    },
    Function {
        name: "passing",
        trust: Trust::Passing,
        share: 2,
        route: r#"upstream = "good"
            request.path = "/echo/{{args.nonce}}""#,
        ..READ
    },
];

/// The table with this number: some of it is new each time, and a faulty one cannot be used.
pub(crate) fn table(
    number: u64,
    faulty: bool,
    good: SocketAddr,
    rude: SocketAddr,
    random: &mut Rng,
) -> String {
    let (slots, calls, passing) = (random.u8(5..30), random.u8(5..20), random.bool());
    let seconds = PATIENCE.as_secs();
    let mut table = format!(
        r#"
        server = {{ listen = "127.0.0.1:0", admin = "127.0.0.1:0" }}
        platforms.swaig = {{ deadline = "{seconds}s", auth.basic = {{ username = "jack", password = "field" }} }}
        platforms.voicedock = {{ deadline = "{seconds}s" }}
        [defaults.failure]
        timeout = "{FAILED}timeout"
        unreachable = "{FAILED}unreachable"
        bad_response = "{FAILED}bad_response"
        refused = "{FAILED}refused"
        [upstreams]
        good = {{ base_url = "http://{good}" }}
        bearer = {{ base_url = "http://{good}", auth.bearer.token = "made-up" }}
        rude = {{ base_url = "http://{rude}", max_body = "256KiB" }}
        quick = {{ base_url = "http://{rude}", max_body = "256KiB", timeout = "500ms" }}
        hedged = {{ base_url = "http://{rude}", max_body = "256KiB", hedge_after = "100ms" }}
        limited = {{ base_url = "http://{rude}", limit = {{ concurrency = {slots}, wait = "300ms" }} }}
        broken = {{ base_url = "http://{rude}", breaker = {{ failure_rate = 0.2, min_calls = {calls}, window = "5s", open_for = "2s" }} }}
        [upstreams.guarded]
        base_url = "http://{good}"
        auth.oauth2 = {{ token_url = "http://{good}/token", client_id = "soak", client_secret = "made-up" }}
        [routes]
        mark_{number} = {{ reply.text = "here" }}
        "#
    );
    for function in FUNCTIONS.iter().filter(|function| function.trust != Trust::Passing || passing) {
        let rest = if function.route.contains("reply.text") {
            ""
        } else {
            r#"
            extract.nonce = "$.nonce"
            reply.text = "{{nonce}}""#
        };
        table.push_str(&format!(
            r#"
            [routes.{}]
            args.nonce = {{ type = "string", required = true }}
            {}{rest}
            "#,
            function.name, function.route
        ));
    }
    if faulty {
        table.push_str(
            "faulty = { upstream = \"nowhere\"
            request.path = \"/\" }\n",
        );
    }
    table
}
